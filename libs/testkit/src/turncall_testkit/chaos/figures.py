"""``python -m turncall_testkit.chaos.figures``: writes the last report into README.md, between its markers."""

import re
import sys
from pathlib import Path
from typing import Final

import msgspec

from turncall_testkit.chaos.report import Report, Row, verdict
from turncall_testkit.chaos.scenario import quantile

REPORTS: Final = (Path(".turncall/chaos/report.json"), Path(".turncall/soak/report.json"))
README: Final = Path("README.md")
BEGIN: Final = "<!-- figures: make figures -->"
END: Final = "<!-- /figures -->"
HEAD: Final = (
    "| Scenario | To reach | Calls | Reached their end | Heard again after p50 / max | Lost, doubled | Verdict |\n"
    "|---|---|---|---|---|---|---|"
)


class Unmarked(Exception):
    """The README has no place for the figures; the message says what to add."""


def main() -> int:
    """0 when the figures were written; 2 when there is no report."""
    reports = [msgspec.json.decode(path.read_bytes(), type=Report) for path in REPORTS if path.exists()]
    if not reports:
        sys.stderr.write(f"there is no report in {REPORTS[0]}: run make chaos\n")
        return 2
    README.write_text(placed(README.read_text(), section(reports)))
    return 0


def section(reports: list[Report]) -> str:
    """The table of all rows, and under it when and where each report was made."""
    rows = [_line(row) for told in reports for row in told.rows]
    dates = [
        f"{' and '.join(row.slug for row in told.rows) if len(told.rows) == 1 else 'Scenarios'}: {told.at:%Y-%m-%d},"
        f" {told.cores} cores ({told.machine}), seed {told.rows[0].seed}, load {told.load_before:g} before the run."
        for told in reports
    ]
    return "\n".join([HEAD, *rows, "", *dates])


def placed(text: str, made: str, begin: str = BEGIN, end: str = END) -> str:
    """``text`` with ``made`` between the markers. Raises `Unmarked`."""
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise Unmarked(f"{README} needs the lines {begin} and {end} once")
    return pattern.sub(lambda _: f"{begin}\n{made}\n{end}", text)


def _line(row: Row) -> str:
    found = row.found
    if found is None:
        p99, twice = row.measures.get("p99, ms"), row.measures.get("rung twice")
        told = f"p99 {p99:g} ms" if p99 is not None else "–"
        doubled = f"–, {twice:g}" if twice is not None else "–"
        return (
            f"| `{row.slug}` | {row.figure} | {row.measures.get('calls', 0):g} | – | {told} | {doubled}"
            f" | {verdict(row)} |"
        )
    gaps = found.gaps_ms
    heard = f"{quantile(gaps, 0.5) / 1000:.2f} / {max(gaps) / 1000:.2f} s" if gaps else "–"
    ended = f"{found.reached_end}" + (f", {found.turned_away} turned away" if found.turned_away else "")
    return (
        f"| `{row.slug}` | {row.figure} | {found.calls} | {ended} | {heard}"
        f" | {len(found.lost)}, {len(found.doubled)} | {verdict(row)} |"
    )


if __name__ == "__main__":
    sys.exit(main())
