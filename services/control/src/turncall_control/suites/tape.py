"""From the recording of a call to what its caller does when it is had again. Pure.

Times are those between the two: a caller's utterance follows the agent's words by as much as it did, so that an agent
who is slower, or says more, is answered and not talked over.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt, sumprod
from typing import Final

from msgspec import Struct

from turncall_control.suites.lines import (
    Act,
    HangUp,
    Interrupt,
    Pause,
    Press,
    Say,
    WaitForAgent,
    WaitForHangUp,
    WaitForSilence,
)
from turncall_control.suites.playing import ANSWERED_AFTER_MS, PATIENCE_S

RATE_HZ: Final = 8000
FRAME_MS: Final = 20
_FRAME: Final = RATE_HZ * FRAME_MS // 1000
_LOUD_RMS: Final = 200.0
"""Quieter frames are no speech, however quiet the line: -44 dBFS, as the line hears the agent."""
_ABOVE_NOISE: Final = 3.0
"""Speech is so much louder than what the line sounds like in its quietest fifth."""
_SHORTEST_MS: Final = 60
_WITHIN_UTTERANCE_MS: Final = 600
"""Shorter pauses belong to what is being said."""
_WITHIN_BURST_MS: Final = 300
"""As the line tells a pause between words from the end of the agent's speech."""
_BEFORE_MS, _AFTER_MS = 100, 200
"""Of the sound around an utterance that is kept with it: beginnings and ends are soft."""
_LEAST_WAIT_MS: Final = 500
_MARGIN_MS: Final = 300
_ENDS_WITHIN_S: Final = 60.0


class NothingToReplay(Exception):
    """The recording holds nothing that a caller did. The message says so."""


class Span(Struct, frozen=True, kw_only=True):
    """A stretch of speech; milliseconds since the recording began."""

    start_ms: int
    end_ms: int


class Key(Struct, frozen=True, kw_only=True):
    """A key that the caller pressed."""

    at_ms: int
    digit: str


class Deed(Struct, frozen=True, kw_only=True):
    """One thing that the caller did: said ``pcm``, or pressed ``digits``."""

    span: Span
    pcm: bytes = b""
    digits: str = ""


def acts(stereo: bytes, keys: Sequence[Key], *, hangs_up: bool) -> tuple[Act, ...]:
    """What the caller of a recording did: s16le, 8000 Hz, caller left, agent right.

    ``hangs_up``: the caller ended the call. Raises `NothingToReplay`.
    """
    both = array("h", stereo[: len(stereo) // 4 * 4])
    caller, agent = both[0::2], both[1::2]
    deeds = _deeds(caller, keys)
    if not deeds:
        raise NothingToReplay("the caller neither said anything nor pressed a key")
    spoken = bursts(agent, _WITHIN_BURST_MS)
    found: list[Act] = []
    free_ms = 0
    for deed in deeds:
        found += _done(deed, spoken, free_ms)
        free_ms = deed.span.end_ms + (_AFTER_MS if deed.pcm else 0)
    if not hangs_up:
        return (*found, WaitForHangUp(timeout_s=_ENDS_WITHIN_S))
    end_ms = len(caller) * 1000 // RATE_HZ
    return (*found, _wait(spoken, free_ms, end_ms), HangUp())


def bursts(samples: "array[int]", within_ms: int) -> list[Span]:
    """Where somebody speaks; pauses shorter than ``within_ms`` belong to it."""
    levels = [sqrt(sumprod(frame, frame) / _FRAME) for frame in _frames(samples)]
    if not levels:
        return []
    floor = sorted(levels)[len(levels) // 5]
    loud = max(_LOUD_RMS, _ABOVE_NOISE * floor)
    found: list[Span] = []
    for index, level in enumerate(levels):
        if level <= loud:
            continue
        at_ms = index * FRAME_MS
        if found and at_ms - found[-1].end_ms < within_ms:
            found[-1] = Span(start_ms=found[-1].start_ms, end_ms=at_ms + FRAME_MS)
        else:
            found.append(Span(start_ms=at_ms, end_ms=at_ms + FRAME_MS))
    return [span for span in found if span.end_ms - span.start_ms >= _SHORTEST_MS]


def _frames(samples: "array[int]") -> Iterator["array[int]"]:
    for start in range(0, len(samples) - _FRAME + 1, _FRAME):
        yield samples[start : start + _FRAME]


def _deeds(caller: "array[int]", keys: Sequence[Key]) -> list[Deed]:
    said = [Deed(span=span, pcm=_cut(caller, span)) for span in bursts(caller, _WITHIN_UTTERANCE_MS)]
    pressed = [Deed(span=Span(start_ms=key.at_ms, end_ms=key.at_ms), digits=key.digit) for key in keys]
    return sorted((*said, *pressed), key=lambda deed: deed.span.start_ms)


def _cut(caller: "array[int]", span: Span) -> bytes:
    start, end = max(0, span.start_ms - _BEFORE_MS), span.end_ms + _AFTER_MS
    return caller[start * RATE_HZ // 1000 : end * RATE_HZ // 1000].tobytes()


def _done(deed: Deed, spoken: Sequence[Span], free_ms: int) -> Iterator[Act]:
    """When the caller does it, by what the agent did since ``free_ms``; and the deed."""
    at_ms = deed.span.start_ms
    over = next((span for span in spoken if span.start_ms < at_ms < span.end_ms), None)
    if deed.digits:
        yield _wait(spoken, free_ms, at_ms)
        yield Press(digits=deed.digits)
    elif over is not None and over.start_ms >= free_ms:
        say = Say(pcm=deed.pcm)
        after_ms = max(_SHORTEST_MS, at_ms - over.start_ms)
        # An agent who says less is not waited for until it says more.
        yield Interrupt(say=say, after_ms=after_ms, or_silent_ms=ANSWERED_AFTER_MS, timeout_s=PATIENCE_S)
    else:
        yield _wait(spoken, free_ms, max(free_ms, at_ms - _BEFORE_MS))
        yield Say(pcm=deed.pcm)


def _wait(spoken: Sequence[Span], free_ms: int, at_ms: int) -> Act:
    """What the caller waited for from ``free_ms`` until ``at_ms``: the agent's words and their end, or only time.

    Where the agent paused for longer than the caller then waited, so long a pause is no end of its words.
    """
    answers = [span for span in spoken if span.end_ms > free_ms and span.start_ms < at_ms]
    if not answers:
        return Pause(length_s=max(0, at_ms - free_ms) / 1000)
    last_ms = at_ms - answers[-1].end_ms
    pauses = [after.start_ms - before.end_ms for before, after in pairwise(answers)]
    silent_ms = max(_LEAST_WAIT_MS, last_ms, *(pause + _MARGIN_MS for pause in pauses))
    if answers[-1].start_ms < free_ms:
        return WaitForSilence(silent_ms=silent_ms, timeout_s=PATIENCE_S)
    return WaitForAgent(silent_ms=silent_ms, timeout_s=PATIENCE_S)
