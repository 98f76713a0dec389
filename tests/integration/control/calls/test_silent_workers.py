"""A worker falls silent while its callers wait: control has the carrier ask, and somebody else goes on."""

import asyncio
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from turncall_control.calls.redirects import Redirects
from turncall_control.plane import Plane
from turncall_control.workers import Workers
from turncall_proto import subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, HangUpAsked
from turncall_proto.events import TranscriptFinal
from turncall_proto.ids import CallId


async def asks(desk: Any, sid: str, call_id: CallId, epoch: int) -> list[str]:
    """Twilio follows an action; the verbs of the answer."""
    return [verb.tag for verb in await _document(desk, sid, f"/webhooks/twilio/voice/resume/{call_id}/{epoch}")]


async def _document(desk: Any, sid: str, path: str) -> ET.Element:
    answer = await desk.twilio_asks(path, desk.form(sid, CallStatus="in-progress"))
    assert answer.status_code == 200
    return ET.fromstring(answer.text)


def _redirect(call_id: CallId, epoch: int) -> str:
    """Where a live call is redirected to."""
    return f"/webhooks/twilio/voice/resume/{call_id}/{epoch}?redirected=1"


async def test_a_frozen_workers_call_goes_on_elsewhere(
    desk: Any, worker: Any, open_worker: Any, sid: str, call_id: CallId
) -> None:
    """The live call is redirected once to the resume address of its epoch, within four seconds of the last beat.

    The worker that wakes up later changes nothing: neither its last word nor its wish to hang up counts.
    """
    await desk.comes_true(lambda: desk.plane.workers.may_judge)
    await desk.rings(sid)
    await worker.opens(plan := worker.offers[-1].plan)
    await desk.comes(call_id, "call.started")
    async with open_worker(desk) as other:
        worker.is_frozen = True
        frozen_at = datetime.now(UTC)
        await desk.comes_true(lambda: desk.rest.redirected(sid))
        assert desk.rest.redirected(sid) == [f"https://voice.example.com{_redirect(call_id, 1)}"]
        assert await asks(desk, sid, call_id, 1) == ["Connect"]
        resume = other.offers[-1].plan.resume
        assert (resume.from_epoch, resume.from_worker, resume.cause) == (1, worker.id, "worker_silent")
        assert abs(resume.lost_at - frozen_at) < timedelta(seconds=5)
        await other.opens(other.offers[-1].plan)

        worker.is_frozen = False
        asked = HangUpAsked(
            act_id="1",
            call_id=call_id,
            epoch=1,
            reason=EndedReason.PIPELINE_ERROR,
            deadline=datetime.now(UTC) + timedelta(seconds=5),
        )
        refused = decode(await desk.bus.ask(subjects.act("hang_up"), encode(asked), timeout_s=2), ActReply)
        assert refused == ActReply(is_taken=False, detail="the call has left epoch 1")
        said = worker.fact(TranscriptFinal, plan, speaker="caller", text="Hm", start_ms=1, end_ms=2, turn=1)
        await worker.publish(said)
        await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
        await desk.comes(call_id, "epoch.closed")
        shown = await desk.call(call_id)
        assert (shown["status"], shown["ended_reason"]) == ("in_progress", None)

        await asyncio.sleep(2.2)  # longer than the pause before a redirect would be repeated
        assert len(desk.rest.redirected(sid)) == 1
        await other.closes(other.offers[-1].plan, CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL)
        await desk.becomes(call_id, status="completed", ended_reason="assistant_ended_call")


async def test_replicas_that_judge_at_once_redirect_once(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Four replicas find the same worker dead: one of them takes the call away, one redirect is sent."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    now_s = 100.0
    others: list[Plane] = []
    for _ in range(4):
        workers = Workers(lambda: now_s)
        workers.look(True)
        workers.dead({worker.id})
        others.append(replace(desk.plane, workers=workers))
    for _ in range(30):
        now_s += 0.1
        for other in others:
            other.workers.look(True)
    await asyncio.gather(*(Redirects(other).attend() for other in others for _ in range(2)))
    await desk.comes_true(lambda: desk.rest.redirected(sid))
    assert len(desk.rest.redirected(sid)) == 1
    assert await desk.rows("select left_epoch, epoch from calls where id = %s", call_id.rpartition("_")[2]) == [(1, 1)]


async def test_an_action_that_came_first_is_not_redirected(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A call that goes on already, or waits for a worker, does not belong to the silent worker any more."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    worker.is_frozen = True
    assert await asks(desk, sid, call_id, 1) == ["Pause", "Redirect"]
    await desk.comes_true(lambda: worker.id not in desk.plane.workers.heard_lately())
    await Redirects(desk.plane).attend()
    await asyncio.sleep(0.3)
    assert desk.rest.redirected(sid) == []


async def test_a_redirect_that_the_action_overtook_opens_no_second_stream(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """The carrier asks by itself while our redirect is on its way, so that the redirect tears the next epoch's stream.

    Before that stream had a worker both get the same answer; after it the call goes on in yet another epoch, in which
    no socket was ever opened, and the torn one's last word does not end it.
    """
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.comes(call_id, "call.started")
    acted = await _document(desk, sid, f"/webhooks/twilio/voice/resume/{call_id}/1")
    redirected = await _document(desk, sid, _redirect(call_id, 1))
    assert (redirected[0].get("action") or "").endswith(f"/resume/{call_id}/2")
    assert ET.tostring(redirected) == ET.tostring(acted), "the answer to the action was never used"

    second = worker.offers[-1].plan
    await worker.opens(second)
    await desk.comes_true(lambda: _is_opened(desk, call_id, 2))
    redirected = await _document(desk, sid, _redirect(call_id, 1))
    assert (redirected[0].get("action") or "").endswith(f"/resume/{call_id}/3")
    again = await _document(desk, sid, _redirect(call_id, 1))
    assert ET.tostring(again) == ET.tostring(redirected)
    third = worker.offers[-1].plan
    assert (third.epoch, third.resume.from_epoch, third.resume.cause) == (3, 2, "socket_lost")
    await worker.closes(second, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await worker.opens(third)
    await desk.comes_true(lambda: _is_opened(desk, call_id, 3))
    assert (await desk.call(call_id))["status"] == "in_progress"
    assert await asks(desk, sid, call_id, 1) == ["Connect"], "a late repeat of the action moves nothing"
    assert worker.offers[-1].plan == third


async def test_a_line_that_closed_meanwhile_is_the_end(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """When the redirect finds no live call, the carrier's word on it is stored and nobody goes on."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    gone = [(400, {"code": 21220, "message": "not in progress"}), (200, {"status": "completed", "duration": "7"})]
    desk.rest.answers.extend(gone)
    worker.is_frozen = True
    await desk.becomes(call_id, status="completed", timeout_s=20)
    await desk.comes(call_id, "call.ended", timeout_s=20)


async def test_a_carrier_that_fails_is_asked_again(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A redirect that failed is repeated; at most twenty a second go out for one account."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    desk.rest.answers.append((500, {"code": 20500, "message": "internal"}))
    worker.is_frozen = True
    await desk.comes_true(lambda: len(desk.rest.redirected(sid)) == 2, timeout_s=20)


async def test_redirects_are_spread(desk: Any, worker: Any, sid: str) -> None:
    """Of 25 calls that are lost at once, no more than 20 are redirected within a second."""
    sids = [f"{sid[:-2]}{number:02d}" for number in range(25)]
    for each in sids:
        await worker.beat()  # each beat of this worker says that it is empty
        assert (await desk.rings(each)).status_code == 200
    worker.is_frozen = True
    await desk.comes_true(lambda: all(desk.rest.redirected(each) for each in sids), timeout_s=20)
    rows = await desk.rows(
        "select redirected_at from epochs where call_id in (select id from calls where provider_call_id = any(%s))",
        sids,
    )
    times = sorted(at for (at,) in rows)
    assert len(times) == len(sids)
    assert sum(at < times[0] + timedelta(seconds=0.9) for at in times) <= 20


async def _is_opened(desk: Any, call_id: CallId, epoch: int) -> bool:
    return bool(
        await desk.rows(
            "select from epochs where call_id = %s and epoch = %s and opened_at is not null",
            call_id.rpartition("_")[2],
            epoch,
        )
    )
