"""What a crowd heard of one worker in a stretch of time, and whether that is good enough. Pure."""

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from turncall_phone.crowd import CrowdCaller
from turncall_phone.handset import Piece

JITTER_MS: Final = 20.0
LATE_MS: Final = 20.0
"""Audio that comes later than this after it was due finds nothing left to play in a phone that keeps one frame."""
LATE_SHARE: Final = 0.01
REPLY_MS: Final = 500.0
ANSWERED_SHARE: Final = 0.99
CALLERS_LATE_MS: Final = 100.0
"""Callers whose own beat is later than this, at p99, are no measure."""
GIVEN_UP_S: Final = 1.5
"""Words that ended less than this before the end of a stretch are left out: their answer may still come."""


class Sample(Struct, frozen=True, kw_only=True):
    """One stretch of ``calls`` at once.

    ``cpu_share`` of a core; ``added_ms`` of each answer: beyond what it has to take; ``lates``: milliseconds and
    samples of each piece of audio; ``gap_ms``: silence within what the agent said, all calls together;
    ``callers_late_ms``: the 99th percentile by which the callers' own beat was late; ``loop_lag_ms``: median and 99th
    percentile of what the worker's was in the last seconds, where it tells.
    """

    calls: int
    lasted_s: float
    cpu_share: float
    resident_bytes: int
    turns: int
    added_ms: tuple[float, ...]
    lates: tuple[tuple[float, int], ...]
    gap_ms: float
    cut_off: int
    callers_late_ms: float = 0.0
    loop_lag_ms: tuple[float, float] | None = None

    @property
    def cpu_ms(self) -> float:
        """Of CPU for each second of a call."""
        return 1000 * self.cpu_share / self.calls

    @property
    def jitter_ms(self) -> float:
        """99 % of the audio came at most so long after it was due."""
        total, passed = sum(samples for _, samples in self.lates), 0
        for late_ms, samples in sorted(self.lates):
            passed += samples
            if passed >= 0.99 * total:
                return late_ms
        return 0.0

    @property
    def late_share(self) -> float:
        """How much of the audio came later than `LATE_MS` after it was due."""
        total = sum(samples for _, samples in self.lates)
        return sum(samples for late_ms, samples in self.lates if late_ms > LATE_MS) / total if total else 0.0

    def added(self, share: float) -> float:
        """What so many of the answers took at most beyond what they have to; infinite when there was none."""
        return percentile(self.added_ms, share) if self.added_ms else math.inf

    @property
    def fault(self) -> str:
        """What is not good enough; empty when everything is."""
        if self.callers_late_ms > CALLERS_LATE_MS:
            return f"the callers' own core was {self.callers_late_ms:.0f} ms late"
        if self.cut_off:
            return f"{self.cut_off} callers were cut off"
        if len(self.added_ms) < ANSWERED_SHARE * self.turns:
            return f"{len(self.added_ms)} of {self.turns} turns were answered"
        if self.added(0.99) > REPLY_MS:
            return f"answers came {self.added(0.99):.0f} ms late"
        if self.jitter_ms >= JITTER_MS:
            return f"audio came {self.jitter_ms:.0f} ms late"
        if self.late_share > LATE_SHARE:
            return f"{self.late_share:.1%} of the audio came late"
        return ""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed. Raises `IndexError` for none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def heard(
    callers: Sequence[CrowdCaller], began_s: float, ended_s: float, takes_ms: float
) -> tuple[int, tuple[float, ...], tuple[Piece, ...]]:
    """The turns whose words ended between these moments, what answers took beyond ``takes_ms``, and all audio."""
    turns = [turn for caller in callers for turn in caller.turns() if began_s <= turn.ended_s < ended_s - GIVEN_UP_S]
    added_ms = tuple(
        1000 * (turn.answered_s - turn.ended_s) - takes_ms for turn in turns if turn.answered_s is not None
    )
    pieces = tuple(
        piece
        for caller in callers
        for utterance in caller.handset.utterances
        for piece in utterance.pieces
        if began_s <= piece.at_s < ended_s
    )
    return len(turns), added_ms, pieces
