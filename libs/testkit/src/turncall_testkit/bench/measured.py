"""What every bench is asked for and returns, and how its rounds become a row of the report."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct

from turncall_testkit.bench.report import Figure, Row
from turncall_testkit.chaos.machine import Load

CALLS: Final = 100
FACTS_PER_CALL: Final = 200
LASTS_S: Final = 8.0


class Size(Struct, frozen=True, kw_only=True):
    """How much is measured: ``share`` of the full size in each of the rounds."""

    rounds: int
    share: float
    has_profile: bool

    @property
    def lasts_s(self) -> float:
        """How long a round at a steady rate takes."""
        return max(1.0, LASTS_S * self.share)

    @property
    def calls(self) -> int:
        """How many calls a backlog is of."""
        return max(20, round(CALLS * self.share))

    @property
    def facts_per_call(self) -> int:
        """How long the stories of a backlog are."""
        return max(10, round(FACTS_PER_CALL * self.share))


class Measured(Struct, frozen=True, kw_only=True):
    """The rounds of one bench."""

    unit: str
    figures: tuple[Figure, ...]
    capacities: tuple[dict[str, float], ...]
    profile: dict[str, float]
    load: Load
    loops_ms: tuple[tuple[float, float], ...]
    counted: dict[str, int]
    profiled: str = "the control process"


def row(slug: str, measured: Measured, lasted_s: float) -> Row:
    """What the report says of a bench."""
    names = measured.capacities[0]
    return Row(
        slug=slug,
        unit=measured.unit,
        figures=measured.figures,
        capacity={name: median(one[name] for one in measured.capacities) for name in names},
        profile=measured.profile,
        profiled=measured.profiled,
        counted=measured.counted,
        load=measured.load,
        loop_cpu_ms=round(median(cpu_ms for cpu_ms, _ in measured.loops_ms), 1),
        loop_wall_ms=round(median(wall_ms for _, wall_ms in measured.loops_ms), 1),
        lasted_s=round(lasted_s, 1),
    )


def figure(
    bar: str,
    bench: str,
    name: str,
    unit: str,
    rounds: Sequence[float],
    to_reach: float | None,
    *,
    is_upward: bool = True,
) -> Figure:
    """One figure of a bench by its rounds."""
    return Figure(
        bar=bar,
        bench=bench,
        name=name,
        unit=unit,
        rounds=tuple(round(one, 1) for one in rounds),
        to_reach=to_reach,
        is_upward=is_upward,
    )
