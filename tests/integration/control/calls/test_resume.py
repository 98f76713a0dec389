"""What happens when a media socket ends: the same call with another worker, or the end."""

import asyncio
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import Any

import pytest

from turncall_proto import subjects
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, HangUpAsked
from turncall_proto.events import EpochClosed, TranscriptFinal
from turncall_proto.ids import CallId


@pytest.fixture(autouse=True)
async def trusting(desk: Any) -> None:
    """A replica that was cut off until lately, or stood still, holds callers instead of moving them: not what is tried
    here, and a busy machine stands still at times."""
    await desk.comes_true(lambda: not desk.plane.workers.is_cut_off, timeout_s=20)


async def resumes(desk: Any, sid: str, call_id: CallId, epoch: int, **changes: str) -> Any:
    """Twilio asks what comes after an epoch's socket."""
    path = f"/webhooks/twilio/voice/resume/{call_id}/{epoch}"
    return await desk.twilio_asks(path, desk.form(sid, **{"CallStatus": "in-progress", **changes}))


def verbs(answer: Any) -> list[str]:
    """The verbs of a document."""
    assert answer.status_code == 200
    return [verb.tag for verb in ET.fromstring(answer.text)]


async def test_a_lost_socket_is_answered_by_the_next_epoch(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """The call goes on in epoch 2 with a plan of the same agent; repeats, also at once, get the same answer."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.comes(call_id, "call.started")
    answers = await asyncio.gather(*(resumes(desk, sid, call_id, 1) for _ in range(4)))
    answers.append(await resumes(desk, sid, call_id, 1))
    assert len({answer.content for answer in answers}) == 1
    (connect,) = ET.fromstring(answers[0].text)
    assert (connect.get("action") or "").endswith(f"/resume/{call_id}/2")
    assert f"/media/{call_id}/2/" in (connect[0].get("url") or "")

    plans = [offer.plan for offer in worker.offers if offer.plan.call_id == call_id]
    assert [plan.epoch for plan in plans] == [1, 2]
    resume = plans[1].resume
    assert plans[0].resume is None
    assert (resume.from_epoch, resume.from_worker, resume.cause) == (1, worker.id, "socket_lost")
    assert abs((datetime.now(UTC) - resume.lost_at).total_seconds()) < 3
    assert plans[0].agent == plans[1].agent
    published = decode(await desk.bus.last(subjects.call(desk.project_id, call_id, "start")), CallStart)
    assert published == plans[1]

    await worker.opens(plans[1])
    await worker.closes(plans[1], CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="9")
    await desk.comes(call_id, "call.ended")
    assert (await desk.call(call_id))["ended_reason"] == "customer_ended_call"


async def test_a_last_word_that_the_bus_holds_up_ends_the_call(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """A socket that ends while this replica is, or was until lately, cut off from the bus is not gone on with at once:
    the worker has said how the call ended, and that arrives when the bus is back. Then there is nothing to resume."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    await desk.comes(call_id, "call.started")
    desk.plane.workers.look(is_connected=False)
    assert verbs(await resumes(desk, sid, call_id, 1)) == ["Pause", "Redirect"]
    await worker.closes(plan, CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL)
    await desk.comes(call_id, "epoch.closed")
    assert verbs(await resumes(desk, sid, call_id, 1)) == ["Hangup"]
    assert [offer.plan.epoch for offer in worker.offers if offer.plan.call_id == call_id] == [1]
    await desk.says(sid, "completed", CallDuration="9")
    await desk.comes(call_id, "call.ended")
    assert (await desk.call(call_id))["ended_reason"] == "assistant_ended_call"


async def test_a_lost_call_goes_on_once_the_bus_was_there_for_a_while(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """Nobody waits for a last word for longer than it takes after an outage."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.comes(call_id, "call.started")
    desk.plane.workers.look(is_connected=False)

    async def goes_on() -> bool:
        return verbs(await resumes(desk, sid, call_id, 1)) == ["Connect"]

    assert not await goes_on()
    await desk.comes_true(goes_on, timeout_s=20)


async def test_an_older_epoch_gets_the_latest_answer(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A repeat for an epoch that was left behind long ago is told where the call is by now."""
    await desk.rings(sid)
    first = await resumes(desk, sid, call_id, 1)
    second = await resumes(desk, sid, call_id, 2)
    assert first.content != second.content
    assert (await resumes(desk, sid, call_id, 1)).content == second.content
    assert verbs(await resumes(desk, sid, call_id, 9)) == ["Hangup"], "an epoch that never was"
    path = f"/webhooks/twilio/voice/resume/{call_id}/9?waiting_since="
    form = desk.form(sid, CallStatus="in-progress")
    waiting = await desk.twilio_asks(f"{path}{time.time() - 10:.0f}", form)
    assert verbs(waiting) == ["Pause", "Redirect"], "it may be on its way after an outage"
    for since in (time.time() - 61, time.time() + 1000, 0):
        assert verbs(await desk.twilio_asks(f"{path}{since:.0f}", form)) == ["Hangup"]


async def test_an_intended_end_is_not_resumed(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """After the worker was told that its wish to hang up is stored, the closing socket ends the call."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    asked = HangUpAsked(
        act_id="1",
        call_id=call_id,
        epoch=1,
        reason=EndedReason.ASSISTANT_ENDED_CALL,
        deadline=worker.offers[-1].deadline.replace(year=2100),
    )
    reply = decode(await desk.bus.ask(subjects.act("hang_up"), encode(asked), timeout_s=2), ActReply)
    assert reply.is_taken
    assert verbs(await resumes(desk, sid, call_id, 1)) == ["Hangup"]
    assert len([offer for offer in worker.offers if offer.plan.call_id == call_id]) == 1


async def test_an_end_that_is_still_on_its_way_is_seen(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A worker that closed the epoch with an end is believed before its word has become a row."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    async with desk.plane.database.pool.connection() as connection, connection.transaction():
        # Whoever waits for a row's lock first gets it first: the question comes before the projector.
        await connection.execute("select from calls where id = %s for update", (call_id.rpartition("_")[2],))
        asking = asyncio.create_task(resumes(desk, sid, call_id, 1))
        await desk.comes_true(lambda: _waits_for_lock(desk))
        await worker.closes(plan, CallState.FAILED, EndedReason.PIPELINE_ERROR)
    assert verbs(await asking) == ["Hangup"]


async def test_a_caller_who_hung_up_is_not_called_on(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """When Twilio asks with a final status, that is the carrier's word on the call."""
    await desk.rings(sid)
    assert verbs(await resumes(desk, sid, call_id, 1, CallStatus="completed", CallDuration="5")) == ["Hangup"]
    assert (await desk.call(call_id))["status"] == "completed"
    assert len([offer for offer in worker.offers if offer.plan.call_id == call_id]) == 1


async def test_an_epoch_closed_without_an_end_goes_on(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A worker that hands the call over closes its epoch without a state; what was said stays in the record."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    said = worker.fact(TranscriptFinal, plan, speaker="caller", text="One", start_ms=10, end_ms=400, turn=1)
    await worker.publish(said)
    await worker.closes(plan)
    await desk.comes(call_id, "epoch.closed")
    assert verbs(await resumes(desk, sid, call_id, 1)) == ["Connect"]
    next_plan = worker.offers[-1].plan
    assert next_plan.resume.cause == "socket_lost", "its worker serves on: only the socket broke"
    await worker.opens(next_plan)
    again = worker.fact(TranscriptFinal, next_plan, speaker="agent", text="Two", start_ms=5, end_ms=300, turn=1)
    await worker.publish(again)
    await desk.comes_true(lambda: _said(desk, call_id, ["One", "Two"]))


async def test_a_call_waits_for_the_next_worker(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Without a free worker the carrier asks again after a second, and the first worker that is free goes on.

    What the lost worker says meanwhile about the end of the call ends nothing.
    """
    await desk.rings(sid)
    await worker.opens(plan := worker.offers[-1].plan)
    worker.answer = "full"
    answer = await resumes(desk, sid, call_id, 1)
    pause, redirect = ET.fromstring(answer.text)
    assert (pause.tag, pause.get("length"), redirect.tag) == ("Pause", "1", "Redirect")
    assert redirect.text == f"https://voice.example.com/webhooks/twilio/voice/resume/{call_id}/1"
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    assert (await desk.comes(call_id, "epoch.closed"))[-1] == "epoch.closed"
    assert (await desk.call(call_id))["status"] == "in_progress"
    worker.answer = "accepted"
    assert verbs(await resumes(desk, sid, call_id, 1)) == ["Connect"]
    resume = worker.offers[-1].plan.resume
    assert (resume.from_epoch, resume.cause) == (1, "socket_lost")


async def test_a_caller_who_waited_long_enough_is_told(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """When nobody takes the call over for 20 s, a sentence is spoken and the call says worker_lost."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    worker.answer = "draining"
    assert verbs(await resumes(desk, sid, call_id, 1)) == ["Pause", "Redirect"]
    await desk.execute("update epochs set asked_at = now() - interval '19 s' where call_id = %s", _uuid(call_id))
    assert verbs(await resumes(desk, sid, call_id, 1)) == ["Pause", "Redirect"]
    await desk.execute("update epochs set asked_at = now() - interval '20 s' where call_id = %s", _uuid(call_id))
    answer = await resumes(desk, sid, call_id, 1)
    assert verbs(answer) == ["Say", "Hangup"]
    worker.answer = "accepted"
    assert (await resumes(desk, sid, call_id, 1)).content == answer.content
    await desk.says(sid, "completed", CallDuration="2")
    await desk.becomes(call_id, ended_reason="worker_lost")


async def test_garbage_in_the_path_is_answered_with_a_document(desk: Any, worker: Any, sid: str) -> None:
    """A signed request for a call that cannot exist gets a closing document, not a problem."""
    answer = await resumes(desk, sid, CallId("call_nonsense"), 1)
    assert verbs(answer)[-1] == "Hangup"
    assert verbs(await resumes(desk, sid, CallId("call_" + "0" * 32), 1)) == ["Hangup"]


async def test_a_draining_worker_hands_over(
    desk: Any, worker: Any, open_worker: Any, sid: str, call_id: CallId
) -> None:
    """A call whose draining worker closed the epoch without a state was drained, at the moment of that word."""
    await desk.rings(sid)
    await worker.opens(plan := worker.offers[-1].plan)
    worker.is_draining = True
    await worker.beat()
    async with open_worker(desk) as other:
        closed = worker.fact(EpochClosed, plan, state=None, reason=None)
        await worker.publish(closed)
        assert verbs(await resumes(desk, sid, call_id, 1)) == ["Connect"]
        resume = other.offers[-1].plan.resume
        assert (resume.from_worker, resume.cause, resume.lost_at) == (worker.id, "drained", closed.at)


async def test_a_draining_worker_may_speak_its_last_word_later(
    desk: Any, worker: Any, open_worker: Any, sid: str, call_id: CallId
) -> None:
    """A recording that is slow to reach the store holds the last word up; the call was drained all the same."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    worker.is_draining = True
    await worker.beat()
    async with open_worker(desk) as other:
        assert verbs(await resumes(desk, sid, call_id, 1)) == ["Connect"]
        assert (other.offers[-1].plan.resume.from_worker, other.offers[-1].plan.resume.cause) == (worker.id, "drained")


def _uuid(wire_id: str) -> str:
    return wire_id.rpartition("_")[2]


async def _said(desk: Any, call_id: CallId, texts: list[str]) -> bool:
    answer = await desk.get(f"/v1/calls/{call_id}/transcript")
    return [utterance["text"] for utterance in answer.json()["utterances"]] == texts


async def _waits_for_lock(desk: Any) -> bool:
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    return bool(await desk.rows(waiting))
