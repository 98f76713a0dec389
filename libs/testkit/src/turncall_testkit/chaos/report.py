"""What a run of scenarios is told as: JSON for machines, a short Markdown table for people."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from turncall_testkit.chaos.checker import Findings
from turncall_testkit.chaos.machine import Load
from turncall_testkit.chaos.scenario import quantile

HEAD = (
    "| scenario | calls | reached the end | turned away | changed worker | heard again after p50 / p95 / max"
    " | without a worker | facts | lost | doubled | verdict |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
SHOWN = 12


class Row(Struct, frozen=True, kw_only=True):
    """One scenario: what was found, and why its figure was missed; nothing in ``misses``: it was reached.

    ``load`` is how busy the machine was, ``measures`` what else was measured. A drill that places calls and never
    speaks has no findings.
    """

    slug: str
    figure: str
    seed: int
    lasted_s: float
    load: Load
    found: Findings | None = None
    measures: dict[str, float] = {}
    misses: tuple[str, ...] = ()


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


def last_rows(folder: Path) -> tuple[Row, ...]:
    """The rows that `write` left in ``folder``; none when there is no report."""
    path = folder / "report.json"
    return msgspec.json.decode(path.read_bytes(), type=Report).rows if path.exists() else ()


def markdown(told: Report) -> str:
    """The table, and under it what was missed and why."""
    lines = [HEAD, *map(_line, told.rows)]
    measured = [row for row in told.rows if row.measures]
    lines += [""] * bool(measured)
    lines += [f"- {row.slug}: {_measures(row.measures)}" for row in measured]
    for row in told.rows:
        if row.misses:
            lines += ["", f"**{row.slug}** (seed {row.seed}) missed “{row.figure}”:", ""]
            lines += [f"- {why}" for why in row.misses[:SHOWN]]
            lines += [f"- and {len(row.misses) - SHOWN} more in report.json"] * (len(row.misses) > SHOWN)
            lines += [f"- {row.load}"]
    lines += ["", f"{told.at:%Y-%m-%d}, {told.cores} cores ({told.machine}), load {told.load_before} before the run."]
    return "\n".join(lines) + "\n"


def verdict(row: Row) -> str:
    """Whether the figure was reached."""
    return "missed" if row.misses else "reached"


def _line(row: Row) -> str:
    found = row.found
    if found is None:
        return f"| {row.slug} | {row.measures.get('calls', 0):.0f} |{' – |' * 8} {verdict(row)} |"
    return (
        f"| {row.slug} | {found.calls} | {found.reached_end} | {found.turned_away} | {found.resumed}"
        f" | {_spread(found.gaps_ms)} | {_spread(found.away_ms)} | {found.facts} | {len(found.lost)}"
        f" | {len(found.doubled)} | {verdict(row)} |"
    )


def _measures(measures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in measures.items())


def _spread(lengths_ms: tuple[int, ...]) -> str:
    """Median, 95th percentile and longest in seconds, and of how many."""
    if not lengths_ms:
        return "–"
    shown = " / ".join(f"{quantile(lengths_ms, share) / 1000:.2f}" for share in (0.5, 0.95, 1.0))
    return f"{shown} s ({len(lengths_ms)})"
