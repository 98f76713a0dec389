"""What a worker does before its first beat, and with the tasks that run beside its calls."""

import asyncio
from contextlib import AsyncExitStack
from typing import get_args

import pytest

from turncall_media.audio import ambience
from turncall_media.background import keep_running
from turncall_media.errors import VendorUnusable
from turncall_media.rehearsal import WITHIN_S, NotReady, rehearse
from turncall_media.seams import Outcome
from turncall_media.wire.stream import CallerAudio, StreamStopped
from turncall_proto.call import CallState, EndedReason
from turncall_testkit import virtual_time

HUNG_UP = Outcome(state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL)


class Greeter:
    """A conversation that listens for a while, speaks once, and notices that the caller hangs up."""

    def __init__(self, wire, *, after_s: float | None, outcome: Outcome = HUNG_UP) -> None:
        self._wire = wire
        self._after_s = after_s
        self._outcome = outcome
        self.heard = 0

    async def run(self) -> Outcome:
        speaking = asyncio.create_task(self._speak())
        while not isinstance(event := await self._wire.receive(), StreamStopped):
            assert isinstance(event, CallerAudio)
            self.heard += 1
        speaking.cancel()
        return self._outcome

    async def _speak(self) -> None:
        if self._after_s is not None:
            await asyncio.sleep(self._after_s)
            await self._wire.play(b"\0\0" * 160)


async def rehearsed(edge, make) -> float:
    """Rehearses conversations that ``make(wire)`` makes."""
    world = await edge()

    async def build(plan, wire, reporter, resources, past):
        return make(wire)

    station = world.station_of("wrk_" + "3" * 32, build=build)
    return await rehearse(station, None)


def test_a_rehearsal_lasts_until_the_first_words(edge):
    """The silent caller listens, hangs up at the first audio, and the time until then is the answer."""
    first_words_s = virtual_time.run(rehearsed(edge, lambda wire: Greeter(wire, after_s=0.7)))
    assert first_words_s == pytest.approx(0.7, abs=0.05)


def test_rooms_are_made_before_the_first_call(edge):
    """Nobody's first words wait for the room that is heard behind them."""
    ambience.loop.cache_clear()
    virtual_time.run(rehearsed(edge, lambda wire: Greeter(wire, after_s=0.1)))
    made = ambience.loop.cache_info().misses
    assert made > 0
    for room in get_args(ambience.Room):
        ambience.Ambience(room, 0.5)
    assert ambience.loop.cache_info().misses == made


def test_a_rehearsal_without_words_ends(edge):
    """An agent that says nothing holds the start for `WITHIN_S` and no longer."""
    assert virtual_time.run(rehearsed(edge, lambda wire: Greeter(wire, after_s=None))) == pytest.approx(WITHIN_S, abs=1)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(state=CallState.FAILED, reason=EndedReason.VENDOR_ERROR),
        Outcome(state=CallState.FAILED, reason=EndedReason.PIPELINE_ERROR),
    ],
)
def test_a_failed_rehearsal_stops_the_start(edge, outcome):
    """A worker that would fail real calls says so before it gets any."""
    with pytest.raises(NotReady, match=outcome.reason):
        virtual_time.run(rehearsed(edge, lambda wire: Greeter(wire, after_s=0.1, outcome=outcome)))


def test_a_rehearsal_that_cannot_be_built(edge):
    """A vendor that refuses is named."""

    def refuse(wire) -> None:
        raise VendorUnusable("espeak has no library")

    with pytest.raises(NotReady, match="espeak has no library"):
        virtual_time.run(rehearsed(edge, refuse))


async def test_a_background_task_that_dies_is_noticed():
    """Its owner is told, once; closing the stack afterwards raises nothing."""
    deaths: list[str] = []

    async def breaks() -> None:
        raise RuntimeError("a bug")

    async with AsyncExitStack() as stack:
        keep_running(stack, "beats", breaks(), lambda: deaths.append("beats"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert deaths == ["beats"]


async def test_a_background_task_ends_with_its_stack():
    """Cancelled and awaited, and nobody is told of a death."""
    deaths: list[str] = []
    seen: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("released")

    async with AsyncExitStack() as stack:
        keep_running(stack, "beats", waits(), lambda: deaths.append("beats"))
        await asyncio.sleep(0)
    assert (seen, deaths) == (["released"], [])
