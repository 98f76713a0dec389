"""Ending a call: the wish is stored, then the carrier is asked until the line is closed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from turncall_proto import subjects
from turncall_proto.call import EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, CommandReply, EndCall, HangUpAsked
from turncall_proto.ids import CallId


async def wishes(desk: Any, call_id: CallId, *, epoch: int = 1, in_s: float = 5, reason: str = "") -> ActReply:
    """A worker asks control to hang up."""
    asked = HangUpAsked(
        act_id="act-1",
        call_id=call_id,
        epoch=epoch,
        reason=EndedReason(reason or "assistant_ended_call"),
        deadline=datetime.now(UTC) + timedelta(seconds=in_s),
    )
    return decode(await desk.bus.ask(subjects.act("hang_up"), encode(asked), timeout_s=2), ActReply)


@pytest.fixture(autouse=True)
def _content_carrier(desk: Any) -> None:
    desk.rest.answers.clear()
    desk.rest.asked.clear()


async def test_a_workers_wish_ends_the_call_at_the_carrier(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """The intent is a fact before the reply; the carrier is asked once, also when the worker asks again."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    assert (await wishes(desk, call_id)).is_taken
    assert "end.intended" in await desk.types(call_id)
    assert (await wishes(desk, call_id, reason="max_duration_reached")).is_taken
    await desk.comes_true(lambda: desk.rest.ended(sid))
    await desk.says(sid, "completed", CallDuration="3")
    await desk.becomes(call_id, status="completed", ended_reason="assistant_ended_call")
    assert (await desk.types(call_id)).count("end.intended") == 1
    assert desk.rest.ended(sid) == 1


async def test_a_wish_that_is_not_due_is_refused(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Late wishes, wishes of an epoch that is over and wishes about unknown calls end nothing."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.twilio_asks(f"/webhooks/twilio/voice/resume/{call_id}/1", desk.form(sid, CallStatus="in-progress"))
    assert await wishes(desk, call_id, in_s=-1, epoch=2) == ActReply(is_taken=False, detail="late")
    assert await wishes(desk, call_id, epoch=1) == ActReply(is_taken=False, detail="the call has left epoch 1")
    assert not (await wishes(desk, CallId("call_" + "d" * 32))).is_taken
    assert "end.intended" not in await desk.types(call_id)
    assert (await wishes(desk, call_id, epoch=2)).is_taken


async def test_a_carrier_that_fails_is_asked_again(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """After an error of the carrier the call is ended on the next try."""
    desk.rest.answers.append((500, {"code": 20500, "message": "internal"}))
    await desk.rings(sid)
    await wishes(desk, call_id)
    await desk.comes_true(lambda: desk.rest.ended(sid) == 2)


async def test_a_line_that_is_closed_already_is_asked_about(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """When the call is not in progress any more, what the carrier knows of it becomes the carrier's word."""
    desk.rest.answers.extend([(400, {"code": 21220, "message": "not in progress"}), (200, {"status": "busy"})])
    await desk.rings(sid)
    await wishes(desk, call_id)
    await desk.becomes(call_id, status="busy", ended_reason="customer_busy")


async def test_a_call_that_the_carrier_does_not_know_is_over(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A 404 for the call leaves nobody to wait for: its last word is said, with the reason that was intended."""
    desk.rest.answers.append((404, {"code": 20404, "message": "not found"}))
    await desk.rings(sid)
    await wishes(desk, call_id)
    await desk.becomes(call_id, status="failed", ended_reason="assistant_ended_call")
    assert (await desk.types(call_id)).count("call.ended") == 1


async def test_the_api_ends_a_call_through_its_worker(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """The command reaches the worker that holds the call, which confirms; the carrier is left to it."""
    heard: list[EndCall] = []

    async def obey(data: bytes) -> bytes:
        heard.append(decode(data, EndCall))
        return encode(CommandReply(outcome="done"))

    await desk.rings(sid)
    serving = await desk.bus.serve(subjects.command(call_id), obey)
    try:
        answer = await desk.http.post(f"/v1/calls/{call_id}/end", headers=desk.bearer)
    finally:
        await serving.close()
    assert (answer.status_code, answer.json()) == (200, {"taken_by": "worker"})
    assert heard[0].reason == EndedReason.API_ENDED_CALL
    assert heard[0].deadline > datetime.now(UTC)
    assert desk.rest.ended(sid) == 0


async def test_the_api_ends_a_call_that_nobody_holds(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Without a worker the carrier is asked; a call that is over is a 409."""
    await desk.rings(sid)
    answer = await desk.http.post(f"/v1/calls/{call_id}/end", headers=desk.bearer)
    assert (answer.status_code, answer.json()) == (200, {"taken_by": "carrier"})
    await desk.comes_true(lambda: desk.rest.ended(sid) == 1)
    await desk.says(sid, "completed")
    await desk.becomes(call_id, status="completed", ended_reason="api_ended_call")
    again = await desk.http.post(f"/v1/calls/{call_id}/end", headers=desk.bearer)
    assert again.status_code == 409
    assert again.json()["type"].endswith("call-over")


async def test_a_worker_may_refuse(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """What the worker refuses is a 409 with its reason, and the call lives on."""

    async def refuse(_: bytes) -> bytes:
        return encode(CommandReply(outcome="refused", detail="a person has taken over"))

    await desk.rings(sid)
    serving = await desk.bus.serve(subjects.command(call_id), refuse)
    try:
        answer = await desk.http.post(f"/v1/calls/{call_id}/end", headers=desk.bearer)
    finally:
        await serving.close()
    assert (answer.status_code, answer.json()["detail"]) == (409, "a person has taken over")
    assert "end.intended" not in await desk.types(call_id)
