"""Handlers of core messages: bounded, and told when they drop."""

import asyncio

import pytest

from turncall_bus.backoff import pause_s
from turncall_bus.handlers import WAITING_MESSAGES, WAITING_REQUESTS, Answering, Hearing, where


async def test_a_listener_that_is_too_slow_drops_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    """Memory is bounded whatever is published; the log is told, but not once per message."""
    heard: list[bytes] = []

    async def listen(_: str, data: bytes) -> None:
        heard.append(data)

    hearing = Hearing("a", listen)
    for number in range(WAITING_MESSAGES + 100):
        hearing.offer("a", b"%d" % number)
    assert hearing.dropped == 100
    await asyncio.sleep(0)
    await hearing.close()

    assert heard == [b"%d" % number for number in range(WAITING_MESSAGES)]
    assert len(caplog.records) == 7


async def test_a_server_that_is_full_drops_and_counts() -> None:
    """Requests beyond those under way and those that may wait are given up."""
    go_on, all_replied = asyncio.Event(), asyncio.Event()
    replies: list[bytes] = []

    async def answer(data: bytes) -> bytes:
        await go_on.wait()
        return data

    async def reply(data: bytes) -> None:
        replies.append(data)
        if len(replies) == 2 + WAITING_REQUESTS:
            all_replied.set()

    answering = Answering("a", answer, at_once=2)
    for _ in range(2 + WAITING_REQUESTS + 5):
        answering.offer(b"", reply)
    assert answering.dropped == 5
    go_on.set()
    await all_replied.wait()
    await answering.close()


async def test_a_close_that_is_cancelled_cancels_what_runs() -> None:
    """A handler that hangs does not outlive the bus."""
    begun = asyncio.Event()
    ended: list[str] = []

    async def listen(_: str, _data: bytes) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    hearing = Hearing("a", listen)
    hearing.offer("a", b"")
    await begun.wait()
    closing = asyncio.create_task(hearing.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(0)

    assert ended == ["cancelled"]


def test_an_error_is_told_by_its_place_and_not_by_its_text() -> None:
    """The text may quote what a person said; the place is enough to find it."""

    def fails() -> None:
        raise ValueError("my number is +15550001111")

    try:
        fails()
    except ValueError as error:
        told = where(error)

    assert told.startswith("ValueError at ")
    assert "fails" in told
    assert "+1555" not in told


def test_pauses_double_up_to_their_bound_and_differ() -> None:
    """Those who failed together come back apart, and never later than the bound."""
    for failures, whole_s in ((1, 0.1), (2, 0.2), (4, 0.8), (9, 5.0), (10_000, 5.0)):
        pauses = {pause_s(failures, first_s=0.1, most_s=5.0) for _ in range(200)}
        assert all(whole_s / 2 <= pause <= whole_s for pause in pauses)
        assert len(pauses) > 100
