"""What a run of benches is told as: JSON for machines, a short Markdown table for people."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from msgspec import Struct

from turncall.capacity.sample import percentile
from turncall_testkit.chaos.machine import Load

HEAD: Final = "| bench | measured | to reach | rounds (min–max) | verdict |\n|---|---|---|---|---|"


class Figure(Struct, frozen=True, kw_only=True):
    """One figure: what each round measured, and what the median has to reach, upwards or downwards.

    ``bar`` is what it is called among the figures to reach (P1 to P10); ``to_reach`` is None for what is told beside
    another figure, to compare.
    """

    bar: str
    bench: str
    name: str
    unit: str
    rounds: tuple[float, ...]
    to_reach: float | None
    is_upward: bool

    @property
    def measured(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def is_reached(self) -> bool:
        """Whether the median is on the right side; always, when there is none."""
        if self.to_reach is None:
            return True
        return self.measured >= self.to_reach if self.is_upward else self.measured < self.to_reach

    @property
    def goal(self) -> str:
        """As a person writes it; empty when there is none."""
        if self.to_reach is None:
            return ""
        return f"{'at least' if self.is_upward else 'under'} {self.to_reach:,.0f} {self.unit}"


class Row(Struct, frozen=True, kw_only=True):
    """One bench. ``capacity`` is how many units each process would manage in a second of a core's time, by rounds'
    medians; ``profile`` the shares of what ``profiled`` does by place, from a round of its own; ``counted`` what the
    rounds did in all."""

    slug: str
    unit: str
    figures: tuple[Figure, ...]
    capacity: dict[str, float]
    profile: dict[str, float]
    counted: dict[str, int]
    load: Load
    loop_cpu_ms: float
    loop_wall_ms: float
    lasted_s: float
    profiled: str = "the control process"


class Report(Struct, frozen=True, kw_only=True):
    """One run on one machine."""

    at: datetime
    machine: str
    cores: int
    load_before: float
    rows: tuple[Row, ...]


def report(rows: Sequence[Row], load_before: float) -> Report:
    """The rows with what has to be known of the machine."""
    return Report(
        at=datetime.now(UTC),
        machine=platform.machine(),
        cores=os.cpu_count() or 0,
        load_before=round(load_before, 1),
        rows=tuple(rows),
    )


def write(told: Report, folder: Path) -> None:
    """``report.json`` and ``report.md`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    (folder / "report.md").write_text(markdown(told))


def markdown(told: Report) -> str:
    """The table, and under it whose time it was."""
    lines = [HEAD, *(_line(figure) for row in told.rows for figure in row.figures)]
    for row in told.rows:
        lines += ["", f"**{row.slug}**{_capacities(row)}."]
        lines += ["In all rounds: " + ", ".join(f"{count:,} {what}" for what, count in row.counted.items()) + "."]
        lines += [f"A fixed loop took {row.loop_cpu_ms:.0f} ms of CPU in {row.loop_wall_ms:.0f} ms; {row.load}."]
        if row.profile:
            lines += ["", f"Of what {row.profiled} does:", ""]
            lines += [f"- {100 * share:.0f} % {place}" for place, share in row.profile.items()]
    lines += ["", made_on(told)]
    return "\n".join(lines) + "\n"


def p99(values: Sequence[float]) -> float:
    """The smallest value that 99 of a hundred do not exceed. Raises `IndexError` for none."""
    return percentile(values, 0.99)


def made_on(told: Report) -> str:
    """When and on what."""
    return f"{told.at:%Y-%m-%d}, {told.cores} cores ({told.machine}), load {told.load_before:g} before the run."


def shown(value: float) -> str:
    """A figure as a person reads it: small ones to a tenth, whole ones without."""
    return f"{value:,.1f}" if abs(value) < 10 and not float(value).is_integer() else f"{value:,.0f}"


def verdict(figure: Figure) -> str:
    """Whether the figure was reached; empty for what has none to reach."""
    if figure.to_reach is None:
        return ""
    return "reached" if figure.is_reached else "missed"


def _capacities(row: Row) -> str:
    whose = ", ".join(f"{name} {units:,.0f}" for name, units in row.capacity.items())
    return f": {row.unit} for each second of a core's time: {whose}" if whose else ""


def _line(figure: Figure) -> str:
    spread = f"{len(figure.rounds)} ({shown(min(figure.rounds))}–{shown(max(figure.rounds))})"
    return (
        f"| {figure.bench}: {figure.name} | {shown(figure.measured)} {figure.unit} | {figure.goal} | {spread}"
        f" | {verdict(figure)} |"
    )
