"""Calls that nobody looks after: the carrier is asked what became of them, and they end."""

import asyncio
from typing import Any

import pytest

from turncall_control.calls.reaper import Reaper
from turncall_proto.ids import CallId

GONE = (404, {"code": 20404, "message": "not found"})


@pytest.fixture(autouse=True)
def _content_carrier(desk: Any) -> None:
    desk.rest.answers.clear()
    desk.rest.asked.clear()


async def is_old(desk: Any, call_id: CallId, seconds: int) -> None:
    """The call, and all that happened in it, is this old."""
    row, age = call_id.rpartition("_")[2], f"{seconds} s"
    await desk.execute(
        "update calls set created_at = created_at - %s::interval, answered_at = answered_at - %s::interval"
        " where id = %s",
        age,
        age,
        row,
    )
    await desk.execute("update epochs set opened_at = opened_at - %s::interval where call_id = %s", age, row)


def looked(desk: Any, sid: str) -> int:
    """How often the carrier was asked how the call stands."""
    return sum((method, asked) == ("GET", sid) for method, asked, _ in desk.rest.asked)


async def test_a_call_that_nobody_opened_takes_the_carriers_word(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """A call of a minute without a word from anybody ends as the carrier says; four replicas ask once."""
    desk.rest.answers.append((200, {"status": "no-answer"}))
    await desk.rings(sid)
    await Reaper(desk.plane).attend()
    assert looked(desk, sid) == 0, "it is young"
    await is_old(desk, call_id, 61)
    await asyncio.gather(*(Reaper(desk.plane).attend() for _ in range(4)))
    await desk.becomes(call_id, status="no_answer", ended_reason="customer_did_not_answer")
    assert looked(desk, sid) == 1


async def test_a_call_that_the_carrier_forgot_is_concluded(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A 404 for an unopened call leaves control's own word, which counts least."""
    desk.rest.answers.append(GONE)
    await desk.rings(sid)
    await is_old(desk, call_id, 61)
    await Reaper(desk.plane).attend()
    await desk.becomes(call_id, status="failed", ended_reason="unknown")
    assert (await desk.types(call_id))[-1] == "call.ended"


async def test_an_open_line_is_left_to_a_worker_that_lives(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A call whose worker beats is not ended, though nothing was heard of it, and is not asked about all the time."""
    desk.rest.answers.append((200, {"status": "in-progress"}))
    await desk.rings(sid)
    await is_old(desk, call_id, 61)
    for _ in range(3):
        await Reaper(desk.plane).attend()
    assert looked(desk, sid) == 1
    assert desk.rest.ended(sid) == 0
    assert (await desk.call(call_id))["status"] == "ringing"


async def test_an_open_line_without_anybody_is_closed(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A caller who waited for a worker and is not asked for any more has the line closed after a minute."""
    await desk.comes_true(lambda: desk.plane.workers.may_judge)
    worker.answer = "full"
    await desk.rings(sid)
    desk.rest.answers.append((200, {"status": "in-progress"}))
    await is_old(desk, call_id, 61)
    await Reaper(desk.plane).attend()
    await desk.comes_true(lambda: desk.rest.ended(sid))
    await desk.says(sid, "completed", CallDuration="61")
    await desk.becomes(call_id, status="completed", ended_reason="no_capacity")


async def test_a_lost_workers_call_ends_when_the_line_is_gone(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """A call that nobody went on with, and that the carrier has ended without telling, takes the carrier's word."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.comes(call_id, "call.started")
    worker.is_frozen = True
    await desk.comes_true(lambda: desk.rest.redirected(sid))
    desk.rest.answers.append((200, {"status": "completed", "duration": "9"}))
    lost = "update epochs set lost_at = now() - interval '11 s', redirect_due = null where call_id = %s"
    await desk.execute(lost, call_id.rpartition("_")[2])
    await Reaper(desk.plane).attend()
    await desk.becomes(call_id, status="completed")
    await desk.comes(call_id, "call.ended", timeout_s=20)


async def test_a_call_over_its_time_is_ended(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A call beyond its agent's longest duration and half a minute is ended at the carrier, its worker alive or not."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.comes(call_id, "call.started")
    await is_old(desk, call_id, 3600 + 20)
    await Reaper(desk.plane).attend()
    assert desk.rest.ended(sid) == 0
    await is_old(desk, call_id, 11)
    await Reaper(desk.plane).attend()
    await desk.comes_true(lambda: desk.rest.ended(sid))
    await desk.says(sid, "completed", CallDuration="3631")
    await desk.becomes(call_id, status="completed", ended_reason="max_duration_reached")
