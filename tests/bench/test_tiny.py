"""`make bench`, as small as it goes: what it reports is what it did; how long it took is left alone."""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from turncall_testkit.bench.report import Report, markdown

SLUGS = ("cold", "inbound", "projection", "answer", "turns", "barge_in", "calls", "memory")
"""Not the drill that chaos runs too, nor a second worker with another agent, nor an installation over the network."""
CALLS = 20
FACTS_PER_CALL = 10
"""The least that a backlog is of."""
TRANSCRIPTS_PER_CALL = 4


async def test_the_command_measures_prints_and_writes(tmp_path: Path) -> None:
    """Every fact of the backlog is a row, every transcript a delivery, every caller placed or asked to hold; every live
    call is greeted, every question answered, every interruption obeyed."""
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "turncall_testkit.bench", *SLUGS, "--rounds", "1", "--size", "0.01"),
        *("--no-profile", "--folder", str(tmp_path)),
        env={name: value for name, value in os.environ.items() if not name.startswith("TURNCALL_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await bench.communicate()
    assert bench.returncode == 0, said.decode()
    told = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Report)
    assert printed.decode() == (tmp_path / "report.md").read_text() == markdown(told)
    cold, inbound, projection, answer, turns, barge_in, calls, memory = told.rows
    for row in told.rows:
        alone = msgspec.json.decode((tmp_path / row.slug / "report.json").read_bytes(), type=Report)
        assert alone.rows == (row,)
    assert inbound.counted["calls answered"] > 100  # a second at a hundred, and those as fast as they go
    assert projection.counted == {
        "facts stored": CALLS * (FACTS_PER_CALL + 1),  # and the answer that an opened epoch implies
        "deliveries queued": CALLS * TRANSCRIPTS_PER_CALL,
    }
    assert answer.counted == {"calls greeted": 2}
    assert turns.counted == {"turns asked": 1, "of them answered": 1}
    assert barge_in.counted == {"interruptions": 1, "of them cleared": 1}
    assert calls.counted["callers answered"] == 1
    assert calls.counted["callers of plain bots answered"] == 2
    assert memory.counted == {"calls served": 10, "sockets refused": 10, "calls broken off": 10}
    assert cold.counted == {"starts of everything": 1}
    for row in told.rows[1:]:
        own = {"worker"} if row in (answer, turns, barge_in, calls, memory) else set()
        assert set(row.capacity) == {"control", "Postgres", "NATS"} | own
        assert all(row.capacity.values()) or row is calls, "a worker that serves one call mostly waits"
    for row in (inbound, projection):
        assert all(figure.measured > 0 for figure in row.figures)
