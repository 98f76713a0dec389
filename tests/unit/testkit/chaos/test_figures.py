"""The figures in the README are printed by a command, and stand where and how it prints them."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from turncall_testkit.chaos import dialling, placement
from turncall_testkit.chaos.figures import BEGIN, END, HEAD, Unmarked, placed, section
from turncall_testkit.chaos.machine import Load
from turncall_testkit.chaos.report import Report, Row, last_rows, markdown, write
from turncall_testkit.chaos.scenarios import SCENARIOS

KNOWN = {*(one.slug for one in SCENARIOS), placement.SLUG, dialling.SLUG, "soak"}
LOAD = Load(cores=2, own=0.5, others=1.2, steal=0.0, most=1.9, lag_ms=12.5)


def report(**fields: object) -> Report:
    row = Row(slug="placement", figure="fast", seed=7, lasted_s=1.0, load=LOAD, **fields)  # type: ignore[arg-type]
    at = datetime(2026, 11, 22, tzinfo=UTC)
    return Report(at=at, machine="x86_64", cores=2, load_before=0.4, rows=(row,))


def test_the_readme_holds_figures_of_known_scenarios() -> None:
    """One row each, under the head that the command writes, with the day and the machine of the run."""
    text = Path("README.md").read_text()
    made = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert placed(text, made) == text
    assert made.startswith(HEAD)
    slugs = re.findall(r"^\| `([a-z-]+)` \|", made, re.MULTILINE)
    assert slugs
    assert len(slugs) == len(set(slugs))
    assert set(slugs) <= KNOWN
    assert all(line.count("|") == HEAD.splitlines()[0].count("|") for line in made.splitlines() if line.startswith("|"))
    assert re.search(r"^[\w -]+: \d{4}-\d\d-\d\d, \d+ cores \(\w+\), seed \d+, load [\d.]+ before", made, re.MULTILINE)


def test_what_was_reported_is_what_is_written() -> None:
    """Figures, verdict, day and machine."""
    made = section([report(measures={"calls": 1000, "p99, ms": 41.5})])
    assert "| `placement` | fast | 1000 | – | p99 41.5 ms | – | reached |" in made
    assert "2026-11-22, 2 cores (x86_64), seed 7, load 0.4 before the run." in made


def test_a_miss_is_told_with_the_load_of_its_machine() -> None:
    """So that whoever reads it can tell the product's lateness from the machine's."""
    told = markdown(report(misses=("p99 was 412 ms",)))
    assert "- p99 was 412 ms" in told
    assert f"- {LOAD}" in told
    assert "missed" in section([report(misses=("p99 was 412 ms",))])


def test_a_report_is_found_again(tmp_path: Path) -> None:
    """So that a run of one scenario can stand beside those of the last run."""
    assert last_rows(tmp_path) == ()
    told = report(misses=("p99 was 412 ms",))
    write(told, tmp_path)
    assert last_rows(tmp_path) == told.rows


def test_a_readme_without_a_place_is_refused() -> None:
    """Nothing is written anywhere else."""
    with pytest.raises(Unmarked):
        placed("# TurnCall\n", "figures")
