"""The benches: which figures they measure, what those have to reach, and how a round of each goes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct

from turncall_testkit.bench import facts, webhooks
from turncall_testkit.bench.plant import Plant
from turncall_testkit.bench.report import Figure, Row, p99
from turncall_testkit.bench.spending import busiest, loop_ms, sampled
from turncall_testkit.chaos.machine import Load, watching

CALLS: Final = 100
FACTS_PER_CALL: Final = 200
FACTS_RATE_PER_S: Final = 1_000
WEBHOOKS_RATE_PER_S: Final = 100
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


async def projection(plant: Plant, size: Size, folder: Path) -> Measured:
    """A backlog into rows with one subscription, then the same projector at a steady rate."""
    drained, late_ms, loops_ms = [], [], []
    async with facts.subscriber(plant), watching() as watch:
        await facts.drain(plant, size.calls, 10)  # caches, prepared statements
        for _ in range(size.rounds):
            loops_ms.append(loop_ms())
            drained.append(await facts.drain(plant, size.calls, size.facts_per_call))
            late_ms.append(p99(await facts.lateness_ms(plant, size.calls, FACTS_RATE_PER_S, size.lasts_s)))
        load = watch.load()
        profile = {}
        if size.has_profile:
            sampling = asyncio.create_task(sampled(busiest(plant.control_pid), 2 * size.lasts_s, folder))
            await facts.drain(plant, size.calls, 2 * size.facts_per_call)
            profile = await sampling
    return Measured(
        unit="facts",
        figures=(
            _figure(
                "projection", "facts stored, one projector", "facts/s", [one.facts_per_s for one in drained], 10_000
            ),
            _figure("projection", "publish to row at 1,000/s, p99", "ms", late_ms, 250, is_upward=False),
        ),
        capacities=tuple(one.capacity for one in drained),
        profile=profile,
        load=load,
        loops_ms=tuple(loops_ms),
        counted={
            "facts stored": sum(one.stored for one in drained),
            "deliveries queued": sum(one.deliveries for one in drained),
        },
    )


async def inbound(plant: Plant, size: Size, folder: Path) -> Measured:
    """Webhooks as fast as they are answered, then at a steady rate."""
    fast, steady, loops_ms = [], [], []
    async with watching() as watch:
        await webhooks.most(plant, 1.0)
        for _ in range(size.rounds):
            loops_ms.append(loop_ms())
            fast.append(await webhooks.most(plant, size.lasts_s))
            steady.append(await webhooks.steady(plant, WEBHOOKS_RATE_PER_S, size.lasts_s))
        load = watch.load()
        profile = {}
        if size.has_profile:
            sampling = asyncio.create_task(sampled(busiest(plant.control_pid), size.lasts_s, folder))
            await webhooks.most(plant, size.lasts_s + 1.0)
            profile = await sampling
    return Measured(
        unit="webhooks",
        figures=(
            _figure("inbound webhook", "answered, one control process", "requests/s", [one.per_s for one in fast], 500),
            _figure("inbound webhook", "p99 at 100/s", "ms", [one.p99_ms for one in steady], 100, is_upward=False),
        ),
        capacities=tuple(one.capacity for one in fast),
        profile=profile,
        load=load,
        loops_ms=tuple(loops_ms),
        counted={
            "calls answered": sum(len(one.took_ms) for one in (*fast, *steady)),
            "of them asked to hold": sum(one.held for one in (*fast, *steady)),
        },
    )


BENCHES: Final[dict[str, Callable[[Plant, Size, Path], Awaitable[Measured]]]] = {
    "inbound": inbound,
    "projection": projection,
}


def row(slug: str, measured: Measured, lasted_s: float) -> Row:
    """What the report says of a bench."""
    names = measured.capacities[0]
    return Row(
        slug=slug,
        unit=measured.unit,
        figures=measured.figures,
        capacity={name: median(one[name] for one in measured.capacities) for name in names},
        profile=measured.profile,
        counted=measured.counted,
        load=measured.load,
        loop_cpu_ms=round(median(cpu_ms for cpu_ms, _ in measured.loops_ms), 1),
        loop_wall_ms=round(median(wall_ms for _, wall_ms in measured.loops_ms), 1),
        lasted_s=round(lasted_s, 1),
    )


def _figure(
    bench: str, name: str, unit: str, rounds: Sequence[float], to_reach: float, *, is_upward: bool = True
) -> Figure:
    return Figure(
        bench=bench,
        name=name,
        unit=unit,
        rounds=tuple(round(one, 1) for one in rounds),
        to_reach=to_reach,
        is_upward=is_upward,
    )
