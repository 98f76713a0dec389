"""What benches print: verdicts, where samples fall, and the README's table."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from turncall_testkit.bench.demo import Failed, conversation_s
from turncall_testkit.bench.figures import BARS, BEGIN, END, HEAD, KEPT, TRIED, keep, kept, missed, section
from turncall_testkit.bench.report import Figure, Report, Row, markdown, p99
from turncall_testkit.bench.spending import per_second, shares
from turncall_testkit.chaos.figures import placed
from turncall_testkit.chaos.machine import Load


def figure(
    rounds: tuple[float, ...], *, to_reach: float | None = 500, is_upward: bool = True, bar: str = "P2"
) -> Figure:
    return Figure(
        bar=bar,
        bench="inbound",
        name="answered",
        unit="requests/s",
        rounds=rounds,
        to_reach=to_reach,
        is_upward=is_upward,
    )


def report(*figures: Figure, day: int = 22) -> Report:
    row = Row(
        slug="inbound",
        unit="webhooks",
        figures=figures,
        capacity={"control": 612.0, "Postgres": 1480.0},
        profile={"control.calls.ledger > psycopg": 0.21},
        counted={"calls placed": 900},
        load=Load(cores=2, own=1.5, others=0.2, steal=0.0, most=1.9, lag_ms=3.0),
        loop_cpu_ms=20.0,
        loop_wall_ms=22.0,
        lasted_s=30.0,
    )
    return Report(at=datetime(2026, 11, day, tzinfo=UTC), machine="x86_64", cores=2, load_before=0.4, rows=(row,))


@pytest.mark.parametrize(
    ("rounds", "is_upward", "is_reached"),
    [
        ((100, 510, 900), True, True),
        ((100, 490, 900), True, False),
        ((1, 499, 900), False, True),
        ((500,), False, False),
    ],
)
def test_the_median_of_the_rounds_decides(rounds: tuple[float, ...], is_upward: bool, is_reached: bool) -> None:
    """Whatever the best and the worst round were."""
    assert figure(rounds, is_upward=is_upward).is_reached is is_reached


def test_a_miss_is_printed_as_one() -> None:
    """With the goal, the spread, whose time it was, and the machine."""
    told = markdown(report(figure((100, 490, 900))))
    assert "| inbound: answered | 490 requests/s | at least 500 requests/s | 3 (100–900) | missed |" in told
    assert "webhooks for each second of a core's time: control 612, Postgres 1,480." in told
    assert "- 21 % control.calls.ledger > psycopg" in told
    assert "2026-11-22, 2 cores (x86_64), load 0.4 before the run." in told


def test_the_readme_shows_what_was_measured() -> None:
    """Every bar has its rows, with goal, verdict and day; what was not measured says so, what is only compared has
    no verdict."""
    made = section([report(figure((510,))), report(figure((22, 24, 26), to_reach=None, bar="P3"))])
    assert made.startswith(HEAD)
    assert "| P2 | inbound: answered | at least 500 requests/s | 510 requests/s | reached | 2026-11-22 |" in made
    assert "| P3 | inbound: answered |  | 24 requests/s |  | 2026-11-22, median of 3 |" in made
    assert [bar for bar in BARS if f"| {bar} | not measured |" in made] == [
        bar for bar in BARS if bar not in ("P2", "P3")
    ]
    assert "missed" not in made
    assert "others used 0.2 of 2 cores meanwhile" in made


def test_a_miss_is_explained_in_the_readme() -> None:
    """By the profile of its own run, and by a link to what was tried."""
    told = [report(figure((490,)))]
    made = section(told)
    assert "**inbound** missed “answered”" in made
    assert "Of what the control process does: 21 % control.calls.ledger > psycopg." in made
    assert f"[P2]({TRIED}#p2)" in made
    assert missed(told) == {"P2"}


def test_the_last_report_of_every_bench_is_kept(tmp_path: Path) -> None:
    """A run of one bench changes its report alone, and an older run changes nothing."""
    last, where = tmp_path / "last", tmp_path / "kept"
    newer, older = report(figure((510,)), day=23), report(figure((100,)), day=22)
    for slug, told in (("inbound", newer), ("projection", older)):
        (last / slug).mkdir(parents=True)
        (last / slug / "report.json").write_bytes(msgspec.json.encode(told))
    keep(last, where)
    assert kept(where) == [newer, older]
    (last / "inbound" / "report.json").write_bytes(msgspec.json.encode(older))
    keep(last, where)
    assert kept(where) == [newer, older]


def test_the_readme_holds_the_table_of_the_kept_reports() -> None:
    """As `make figures` writes it; every bar that was missed has its heading where it says what was tried."""
    text, reports = Path("README.md").read_text(), kept(KEPT)
    assert placed(text, section(reports), BEGIN, END) == text
    headings = {line.removeprefix("### ").strip() for line in TRIED.read_text().splitlines() if line.startswith("### ")}
    assert missed(reports) <= headings


def test_one_in_a_hundred_may_be_late() -> None:
    """Of a hundred the second largest counts; of few the largest."""
    assert p99([*range(1, 101)]) == 99
    assert p99([3.0, 1.0, 2.0]) == 3.0


def test_a_process_is_told_by_what_it_would_do_with_a_core() -> None:
    """Half a second for a thousand is two thousand a second."""
    assert per_second(1000, {"control": 1.0}, {"control": 1.5}) == {"control": 2000}


def test_a_sample_counts_for_the_innermost_module_of_ours() -> None:
    """With the library that it called, if it was in one."""
    stacks = (
        "main (/x/python3.12/asyncio/run.py:1);lock (/w/src/turncall_control/calls/ledger.py:9);"
        "execute (/v/site-packages/psycopg/cursor.py:3) 3\n"
        "main (/x/python3.12/asyncio/run.py:1);fold (/w/src/turncall_control/calls/state.py:7) 1\n"
    )
    assert shares(stacks) == {"control.calls.ledger > psycopg": 0.75, "control.calls.state": 0.25}


def test_the_conversation_is_read_off_the_demonstration() -> None:
    """Its own record says how long it was; without one the demonstration failed."""
    shown = "record    GET /v1/calls/call_1\n  status        completed, assistant_ended_call, 31.4 s\n  facts  9\n"
    assert conversation_s(shown) == 31.4
    with pytest.raises(Failed):
        conversation_s("servers   Postgres (1.1 s)\n")
