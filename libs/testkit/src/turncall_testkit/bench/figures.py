"""``python -m turncall_testkit.bench.figures``: keeps the last report of every bench, and writes README.md's table of
all figures from them, between its markers."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from turncall_testkit.bench.report import Figure, Report, Row, made_on, shown, verdict
from turncall_testkit.chaos.figures import README, placed

LAST: Final = Path(".turncall/bench")
KEPT: Final = Path("tests/bench/reports")
"""One report for each bench, in the repository, so that who measures one of them again changes its rows alone."""
TRIED: Final = Path("tests/bench/README.md")
"""Says under a heading for each missed figure what was tried."""
BARS: Final = tuple(f"P{number}" for number in range(1, 11))
BEGIN: Final = "<!-- speed: make figures -->"
END: Final = "<!-- /speed -->"
HEAD: Final = "| | Figure | To reach | Measured | Verdict | When |\n|---|---|---|---|---|---|"
PARTS: Final = 5
"""Of a profile, that are told of a miss."""


def main() -> int:
    """0 when the figures were written; 2 when there is no report."""
    keep(LAST, KEPT)
    reports = kept(KEPT)
    if not reports:
        sys.stderr.write(f"there is no report in {LAST} or {KEPT}: run make bench\n")
        return 2
    README.write_text(placed(README.read_text(), section(reports), BEGIN, END))
    return 0


def keep(last: Path, where: Path) -> None:
    """Copies the reports of single benches that ``last`` has into ``where``, unless a newer one is there."""
    where.mkdir(parents=True, exist_ok=True)
    for path in sorted(last.glob("*/report.json")):
        target, told = where / f"{path.parent.name}.json", path.read_bytes()
        if not target.exists() or _report(target.read_bytes()).at < _report(told).at:
            target.write_bytes(told)


def kept(where: Path) -> list[Report]:
    """The reports in ``where``, in the order of their names."""
    return [_report(path.read_bytes()) for path in sorted(where.glob("*.json"))]


def section(reports: Sequence[Report]) -> str:
    """The table of all figures; what is known of each miss; when, where and beside what each bench ran."""
    lines = [HEAD]
    for bar in BARS:
        those = [_line(told, figure) for told, _, figure in _figures(reports) if figure.bar == bar]
        lines += those or [f"| {bar} | not measured | | | | |"]
    misses = [_miss(row, figures) for row, figures in _missed(reports)]
    conditions = [f"`{row.slug}`: {_conditions(row)}; {made_on(told)}" for told in reports for row in told.rows]
    return "\n\n".join(["\n".join(lines), *misses, "\n".join(f"- {one}" for one in conditions)])


def missed(reports: Sequence[Report]) -> set[str]:
    """The bars of which a figure was missed."""
    return {figure.bar for _, _, figure in _figures(reports) if not figure.is_reached}


def _report(encoded: bytes) -> Report:
    return msgspec.json.decode(encoded, type=Report)


def _figures(reports: Sequence[Report]) -> Iterator[tuple[Report, Row, Figure]]:
    for told in reports:
        for row in told.rows:
            for figure in row.figures:
                yield told, row, figure


def _missed(reports: Sequence[Report]) -> Iterator[tuple[Row, list[Figure]]]:
    for told in reports:
        for row in told.rows:
            if missing := [figure for figure in row.figures if not figure.is_reached]:
                yield row, missing


def _line(told: Report, figure: Figure) -> str:
    rounds = len(figure.rounds)
    when = f"{told.at:%Y-%m-%d}" + (f", median of {rounds}" if rounds > 1 else "")
    return (
        f"| {figure.bar} | {figure.bench}: {figure.name} | {figure.goal} | {shown(figure.measured)} {figure.unit}"
        f" | {verdict(figure)} | {when} |"
    )


def _miss(row: Row, figures: Sequence[Figure]) -> str:
    bars = sorted({figure.bar for figure in figures})
    links = " and ".join(f"[{bar}]({TRIED}#{bar.lower()})" for bar in bars)
    names = ", ".join(f"“{figure.name}”" for figure in figures)
    parts = ", ".join(f"{100 * share:.0f} % {place}" for place, share in list(row.profile.items())[:PARTS])
    profile = f" Of what {row.profiled} does: {parts}." if parts else ""
    return f"**{row.slug}** missed {names}; what was tried is told under {links}.{profile}"


def _conditions(row: Row) -> str:
    whose = ", ".join(f"{name} {units:,.0f}" for name, units in row.capacity.items())
    return (
        (f"{row.unit} for a second of a core's time: {whose}; " if whose else "")
        + f"others used {row.load.others:.1f} of {row.load.cores} cores meanwhile, a loop of {row.loop_cpu_ms:.0f} ms"
        f" took {row.loop_wall_ms:.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
