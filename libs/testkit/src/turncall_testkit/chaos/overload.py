"""Twice as many callers as there are slots: who got one must not notice the others."""

from typing import Final

from turncall_testkit.chaos.checker import PLEASE_HOLD
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.gaps import replies_ms
from turncall_testkit.chaos.history import CallHistory, History

STRIKE: Final = "as many callers again"
WORKERS: Final = 2
SLOWER_MS: Final = 250
"""By which the 95th percentile of replies may rise when the others arrive."""
SETTLED_S: Final = (8.0, 10.0)
"""Before the others arrive: for some replies to compare with."""


def slots(calls: int) -> int:
    """Of each worker, so that all of them together carry ``calls``."""
    return -(-calls // WORKERS)


async def arrive_twice(drill: Drill) -> None:
    """Callers take every slot, and as many again arrive."""
    await drill.dial()
    await drill.all_have_spoken()
    await drill.a_moment(*SETTLED_S)
    drill.strike(STRIKE)
    await drill.dial()


def replies(history: History) -> tuple[list[int], list[int]]:
    """How long the callers of the first half waited for each reply, in milliseconds: before the others came, and
    after."""
    strike = history.strikes[0]
    before: list[int] = []
    after: list[int] = []
    for call in history.calls:
        if (struck_ms := strike.positions_ms.get(call.call_id)) is not None:
            for at_ms, reply_ms in replies_ms(call.heard, call.said):
                (before if at_ms < struck_ms else after).append(reply_ms)
    return before, after


def degraded(history: History) -> list[str]:
    """What the callers who had an agent noticed of the others."""
    faults = [
        f"{call.call_id}: it had to be said again ({call.told.nudges} times unasked, {call.told.repeats} times asked)"
        for call in history.calls
        if call.told.said and (call.told.nudges or call.told.repeats)
    ]
    return faults + _turned_away_without_cause(history) + _left_ringing(history)


def slowed(history: History) -> list[str]:
    """Whether replies came later once the others were there."""
    before, after = replies(history)
    if not before or not after:
        return ["there are no replies to compare"]
    rose_ms = _p95(after) - _p95(before)
    return [f"95 % of the replies came within {_p95(after)} ms, before within {_p95(before)}"] * (rose_ms > SLOWER_MS)


def measures(history: History) -> dict[str, float]:
    """How many were asked to hold, and the 95th percentile of replies, in milliseconds, before and after."""
    before, after = replies(history)
    held = {"asked to hold": float(sum(PLEASE_HOLD in call.heard_texts for call in history.calls))}
    return held | (
        {"reply p95 before, ms": _p95(before), "reply p95 after, ms": _p95(after)} if before and after else {}
    )


def _turned_away_without_cause(history: History) -> list[str]:
    """Callers of the first half were there while slots were free."""
    first = history.strikes[0].positions_ms
    return [
        f"{call.call_id}: turned away while there was room"
        for call in history.calls
        if call.call_id in first and _has_heard_nobody(call)
    ]


def _left_ringing(history: History) -> list[str]:
    """Callers who came when every slot was taken, and were told nothing."""
    first = history.strikes[0].positions_ms
    return [
        f"{call.call_id}: got neither an agent nor a word"
        for call in history.calls
        if call.call_id not in first and _has_heard_nobody(call) and PLEASE_HOLD not in call.heard_texts
    ]


def _has_heard_nobody(call: CallHistory) -> bool:
    return not call.told.said


def _p95(values: list[int]) -> int:
    return sorted(values)[-(-95 * len(values) // 100) - 1]
