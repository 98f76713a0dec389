"""The journal, read while it is written."""

import asyncio

import pytest

from turncall_phone import journal as journal_module
from turncall_phone.journal import Alert, Journal, JournalOverrun, StatusChanged


async def test_a_follower_gets_what_was_there_and_what_comes_without_gap_or_double(journal: Journal) -> None:
    """Entries before and after the start of reading come once each, in order, of the one call asked for."""
    journal.add(StatusChanged(status="ringing"), "CA1")
    journal.add(StatusChanged(status="ringing"), "CA2")
    reader = journal.follow("CA1")
    first = await anext(reader)
    journal.add(StatusChanged(status="in-progress"), "CA1")
    second = await anext(reader)
    await reader.aclose()

    assert [(e.number, e.fact.status) for e in (first, second)] == [(1, "ringing"), (3, "in-progress")]


async def test_a_reader_that_falls_too_far_behind_is_told(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losing entries in silence would make a test's verdict worthless."""
    monkeypatch.setattr(journal_module, "FOLLOWER_ENTRIES", 2)
    reader = journal.follow()
    journal.add(Alert(code=0, detail="first"))
    await anext(reader)
    for _ in range(4):
        journal.add(Alert(code=1, detail="more"))

    with pytest.raises(JournalOverrun):
        async for _ in reader:
            pass


async def test_waiting_for_an_entry_finds_old_and_new_ones(journal: Journal) -> None:
    """`first` returns what already happened at once, waits for what has not, and gives up in time."""
    journal.add(Alert(code=11200, detail="old"))
    old = await journal.first(lambda e: isinstance(e.fact, Alert), timeout_s=1)
    waiting = asyncio.create_task(journal.first(lambda e: isinstance(e.fact, StatusChanged), timeout_s=1))
    await asyncio.sleep(0)
    journal.add(StatusChanged(status="busy"))

    assert old.number == 1
    assert (await waiting).number == 2
    with pytest.raises(TimeoutError):
        await journal.first(lambda _: False, timeout_s=0)
