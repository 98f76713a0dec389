"""``python -m turncall_testkit.bench.figures``: writes the last report into README.md, between its markers."""

import sys
from pathlib import Path
from typing import Final

import msgspec

from turncall_testkit.bench.report import Report, made_on, shown, verdict
from turncall_testkit.chaos.figures import README, placed

REPORT: Final = Path(".turncall/bench/report.json")
BEGIN: Final = "<!-- speed: make figures -->"
END: Final = "<!-- /speed -->"
HEAD: Final = "| Bench | To reach | Measured | Verdict |\n|---|---|---|---|"


def main() -> int:
    """0 when the figures were written; 2 when there is no report."""
    if not REPORT.exists():
        sys.stderr.write(f"there is no report in {REPORT}: run make bench\n")
        return 2
    told = msgspec.json.decode(REPORT.read_bytes(), type=Report)
    README.write_text(placed(README.read_text(), section(told), BEGIN, END))
    return 0


def section(told: Report) -> str:
    """The table of all figures, whose time they cost, and when and where they were measured."""
    lines = [
        f"| {figure.bench}: {figure.name} | {figure.goal} | {shown(figure.measured)} {figure.unit}"
        f" | {verdict(figure)} |"
        for row in told.rows
        for figure in row.figures
    ]
    costs = []
    for row in filter(lambda row: row.capacity, told.rows):
        whose = ", ".join(f"{name} {units:,.0f}" for name, units in row.capacity.items())
        costs.append(
            f"In a second of a core's time, {row.unit}: {whose}; others used {row.load.others:.1f} of"
            f" {row.load.cores} cores meanwhile, a loop of {row.loop_cpu_ms:.0f} ms took {row.loop_wall_ms:.0f}."
        )
    return "\n".join([HEAD, *lines, "", *costs, made_on(told)])


if __name__ == "__main__":
    sys.exit(main())
