"""More and more calls on one worker, until they suffer."""

import asyncio
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Final

from msgspec import Struct

from turncall import procfs
from turncall.capacity.sample import Sample, heard, percentile
from turncall_phone.crowd import Crowd, NotConnected

FIRST: Final = 10
MOST: Final = 400
"""More than any core bears."""
JOIN_EVERY_S: Final = 0.2
"""Setting a call up costs as much as some seconds of it."""
SETTLES_S: Final = 2.5
IDLE_SHARE: Final = 0.03
IDLE_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 2.0
FULL_SHARE: Final = 0.95
"""Of a core, at which no worker gives every call its turn."""
PLACED_WITHIN_S: Final = 15.0
AGAIN_S: Final = 0.5

Place = Callable[[str], Awaitable[str | None]]
"""Announces a call of that id; the media socket that it is to be connected to, or None while nobody takes it."""


class NotTaken(Exception):
    """A worker that seemed to bear its calls took no more of them; the message says which call."""


class Subject(Struct, frozen=True, kw_only=True):
    """Who serves the calls: how one is placed, whose CPU it costs, what an answer has to take, and who knows how late
    its event loop is."""

    place: Place
    pid: procfs.Pid
    takes_ms: float
    lag_ms: Callable[[], Awaitable[tuple[float, float]]] | None = None


async def idle(pid: procfs.Pid) -> None:
    """Returns when the process has nothing to do, after a minute at the latest."""
    until_s = asyncio.get_running_loop().time() + IDLE_WITHIN_S
    while asyncio.get_running_loop().time() < until_s:
        used_s = procfs.used_s(pid)
        await asyncio.sleep(LOOK_EVERY_S)
        if procfs.used_s(pid) - used_s < IDLE_SHARE * LOOK_EVERY_S:
            return


async def climb(
    subject: Subject,
    crowd: Crowd,
    lasts_s: float,
    told: Callable[[Sample], None],
    most: int = MOST,
    by_way_of: int = 0,
) -> list[Sample]:
    """Samples of growing crowds, ``lasts_s`` each, until one suffers twice in a row or is of ``most`` calls; everybody
    hangs up then. One of them is of ``by_way_of`` calls, if so many are borne.

    The last sample without a `Sample.fault` is the knee. Raises `NotTaken`.
    """
    samples, count = list[Sample](), min(FIRST, most)
    try:
        while True:
            await join(subject, crowd, count - len(crowd.members))
            sample = await sampled(subject, crowd, lasts_s)
            if sample.fault:
                sample = await sampled(subject, crowd, lasts_s)
            samples.append(sample)
            told(sample)
            if sample.fault or sample.calls >= most:
                return samples
            count = min(most, following(sample))
            if sample.calls < by_way_of < count:
                count = by_way_of
    finally:
        await crowd.leave()


def following(sample: Sample) -> int:
    """How many calls to try next: most of the way to what the CPU seems to allow, an eighth more at the least."""
    allows = FULL_SHARE * sample.calls / max(sample.cpu_share, 0.01)
    return sample.calls + max(2, round(sample.calls / 8), round(0.7 * (allows - sample.calls)))


def knee(samples: list[Sample]) -> Sample | None:
    """The largest crowd that did not suffer."""
    return next((sample for sample in reversed(samples) if not sample.fault), None)


async def join(subject: Subject, crowd: Crowd, more: int) -> None:
    """``more`` callers, one after another. Raises `NotTaken`."""
    for _ in range(more):
        await _join(subject, crowd)
        await asyncio.sleep(JOIN_EVERY_S)


async def sampled(subject: Subject, crowd: Crowd, lasts_s: float, settles_s: float = SETTLES_S) -> Sample:
    """The ``lasts_s`` behind ``settles_s``, in which those who came last hear the greeting."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(settles_s)
    began_s, used_s, beats = loop.time(), procfs.used_s(subject.pid), len(crowd.lates_s)
    await asyncio.sleep(lasts_s)
    ended_s, spent_s = loop.time(), procfs.used_s(subject.pid) - used_s
    turns, added_ms, pieces = heard(crowd.members, began_s, ended_s, subject.takes_ms)
    return Sample(
        calls=len(crowd.members),
        lasted_s=ended_s - began_s,
        cpu_share=spent_s / (ended_s - began_s),
        resident_bytes=procfs.resident_bytes(subject.pid),
        turns=turns,
        added_ms=added_ms,
        lates=tuple((piece.late_ms, piece.samples) for piece in pieces),
        gap_ms=sum(piece.gap_ms for piece in pieces),
        callers_late_ms=1000 * percentile(crowd.lates_s[beats:], 0.99),
        loop_lag_ms=await subject.lag_ms() if subject.lag_ms is not None else None,
        cut_off=sum(caller.is_over.is_set() for caller in crowd.members),
    )


async def _join(subject: Subject, crowd: Crowd) -> None:
    why = "nobody takes it"
    try:
        async with asyncio.timeout(PLACED_WITHIN_S):
            while True:
                sid = f"CA{token_hex(16)}"
                try:
                    if (url := await subject.place(sid)) is not None:
                        await crowd.join(url, sid)
                        return
                except NotConnected as error:
                    why = str(error)
                await asyncio.sleep(AGAIN_S)
    except TimeoutError as error:
        raise NotTaken(f"call {len(crowd.members) + 1}: {why}") from error
