"""``turncall test replay``: a recorded call is had again with another version, and what has changed is told."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from turncall.client import TurnCall
from turncall.client.suite_shapes import ReplayDifference, ReplayView, TurnDifference
from turncall_proto.ids import CallId
from turncall_proto.scenario import TalkTurn

SAME, CHANGED, NOT_HAD, STOPPED_WAITING = 0, 1, 2, 4
LOOK_EVERY_S: Final = 0.5


async def replayed(api: TurnCall, call_id: CallId, within_s: float, tell: Callable[[str], None], **asked: Any) -> int:
    """Begins a replay, waits for its end and tells the difference: `SAME` if there is none."""
    begun = await api.replay_call(call_id, **asked)
    tell(f"{begun.id}: {call_id} with version {begun.version_number}, from {begun.from_number} in {begun.account}")
    over = await _over(api, begun, within_s)
    if over.state == "running":
        tell(f"{over.id} is not over after {within_s:g} s; it goes on")
        return STOPPED_WAITING
    if over.difference is None:
        tell(f"failed: {over.detail}")
        return NOT_HAD
    for line in _told(over.difference):
        tell(line)
    tell(f"{'same' if over.difference.is_same else 'changed'}: had again as {over.replayed_as}")
    return SAME if over.difference.is_same else CHANGED


async def _over(api: TurnCall, replay: ReplayView, within_s: float) -> ReplayView:
    """The replay once it is over, or as it stands when that takes too long."""
    clock = asyncio.get_running_loop().time
    deadline_s = clock() + within_s
    while replay.state == "running" and clock() < deadline_s:
        await asyncio.sleep(LOOK_EVERY_S)
        replay = await _found(api, replay)
    return replay


async def _found(api: TurnCall, replay: ReplayView) -> ReplayView:
    """The replay as it stands; as it stood, if it was erased with its call."""
    cursor: str | None = None
    while True:
        page = await api.call_replays(replay.call_id, cursor=cursor)
        for one in page.items:
            if one.id == replay.id:
                return one
        cursor = page.next_cursor
        if cursor is None:
            return replay


def _told(difference: ReplayDifference) -> Iterator[str]:
    """Each turn, once where nothing has changed; - is the call, + its replay."""
    for turn in difference.turns:
        yield from _turn(turn)
    if difference.ended_before == difference.ended_after:
        yield f"  ended: {difference.ended_after}"
    else:
        yield f"- ended: {difference.ended_before}"
        yield f"+ ended: {difference.ended_after}"
    if difference.unmocked:
        yield f"! the record does not answer {difference.unmocked}"


def _turn(turn: TurnDifference) -> Iterator[str]:
    before, after = _lines(turn.before), _lines(turn.after)
    if turn.is_same:
        yield from (f"  {line}" for line in after)
        yield from _times(turn)
        return
    yield from (f"{'  ' if line in after else '- '}{line}" for line in before)
    yield from (f"+ {line}" for line in after if line not in before)
    yield from _times(turn)


def _times(turn: TurnDifference) -> Iterator[str]:
    if turn.before is not None and turn.after is not None and turn.before.latency_ms and turn.after.latency_ms:
        yield f"  answered in {turn.before.latency_ms} ms, {turn.after.latency_ms} ms"


def _lines(turn: TalkTurn | None) -> list[str]:
    if turn is None:
        return []
    return [
        *([f"caller: {turn.caller}"] if turn.caller else []),
        *(
            f"tool:   {used.tool}({msgspec.json.encode(used.arguments).decode()}) ="
            f" {msgspec.json.encode(used.output).decode()[:200]}"
            for used in turn.tools
        ),
        *([f"agent:  {turn.agent}"] if turn.agent else []),
    ]
