"""Twilio's webhooks for an inbound call, over real Postgres and NATS."""

import asyncio
import os
import time
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from turncall_control.calls import admission, deciding, lookup
from turncall_control.calls.ringing import Ringing
from turncall_control.carriers import twiml
from turncall_control.carriers.accounts import Proof
from turncall_proto import ids, stream_token, subjects
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.codec import decode
from turncall_proto.ids import CallId
from turncall_runtime.seal import open_sealed
from turncall_testkit.config import amounts

ACCOUNT = "AC" + "a" * 32
INBOUND = "/webhooks/twilio/voice/inbound"


async def test_a_call_is_joined_to_a_worker(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """The answer connects to the worker's socket of the call and epoch, with a token that opens it; nothing follows."""
    answer = await desk.rings(sid)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/xml")
    (connect,) = ET.fromstring(answer.text)
    (stream,) = connect
    assert (connect.tag, stream.tag) == ("Connect", "Stream")
    assert connect.get("action") == f"https://voice.example.com/webhooks/twilio/voice/resume/{call_id}/1"
    head, _, token = (stream.get("url") or "").rpartition("/")
    assert head == f"wss://media.example.com/media/{call_id}/1"
    stream_token.check(desk.plane.config.stream_token_keys, token, call_id, 1, time.time())

    shown = await desk.call(call_id)
    assert shown["status"] == "ringing"
    assert (shown["agent_id"], shown["version_id"], shown["number_id"]) == (
        desk.agent_id,
        desk.version_id,
        desk.number_id,
    )
    assert (shown["from_number"], shown["to_number"], shown["provider_call_id"]) == ("+15550001111", desk.number, sid)
    assert await desk.types(call_id) == ["call.initializing", "call.ringing"]


async def test_the_plan_is_a_fact_that_any_worker_can_serve(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """The published call-start is the plan that was offered, with the vendor's key sealed to the media plane."""
    await desk.rings(sid)
    data = await desk.bus.last(subjects.call(desk.project_id, call_id, "start"))
    plan = decode(data, CallStart)
    assert plan == worker.offers[-1].plan
    assert (plan.epoch, plan.offered_to, plan.provider_call_id) == (1, worker.id, sid)
    assert list(plan.secrets) == ["deepgram"], "a vendor without a key has none to seal"
    assert open_sealed(plan.secrets["deepgram"], [desk.seal_private_key]).reveal() == "deepgram-key"


async def test_repeats_get_the_same_answer(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Five webhooks at once and one later make one row, one offer and one call-start; every answer is the same."""
    answers = await asyncio.gather(*(desk.rings(sid) for _ in range(5)))
    answers.append(await desk.rings(sid))
    assert len({answer.content for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {200}
    assert len([offer for offer in worker.offers if offer.plan.call_id == call_id]) == 1
    assert len(await desk.bus.story(subjects.call(desk.project_id, call_id, "start"))) == 1
    assert await desk.types(call_id) == ["call.initializing", "call.ringing"]


async def test_two_processes_that_find_no_row_make_one(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Who looked before the other one's row was there takes over its answer, and its own slot frees itself."""
    proof = Proof(account=ACCOUNT, is_installations=True, holders=frozenset())
    ringing = Ringing(
        provider="twilio", proof=proof, provider_call_id=sid, from_number="+15550001111", to_number=desk.number
    )
    found = await lookup.find(desk.plane, ringing)
    assert found.call is None
    routed = await deciding.decide(desk.plane, found, ringing)
    admitted = await asyncio.gather(
        *(admission.admit(desk.plane, twiml, ringing, found, routed) for _ in range(2)),
    )
    assert len({one.answer for one in admitted}) == 1
    assert sorted(one.plan is None for one in admitted) == [False, True], "one call-start to announce"
    assert await desk.types(call_id) == ["call.initializing", "call.ringing"]
    assert (await desk.rings(sid)).text == admitted[0].answer


async def test_many_calls_each_told_of_five_times(desk: Any, worker: Any) -> None:
    """Every first webhook comes five times at once: each call has one row, one epoch, one call-start, one answer."""
    worker.slots = 10_000
    await desk.comes_true(lambda: any(beat.slots_total == 10_000 for beat in desk.plane.workers.alive("calls")))
    sids = [f"CA{uuid4().hex}" for _ in range(amounts(os.environ).test_repeated_calls)]
    ringing = asyncio.Semaphore(4)

    async def ring(sid: str) -> set[bytes]:
        async with ringing:
            answers = await asyncio.gather(*(desk.rings(sid) for _ in range(5)))
            # At once, since the reaper ends calls that nobody opens, and their messages are purged.
            start = subjects.call(desk.project_id, ids.inbound_call_id("twilio", ACCOUNT, sid), "start")
            await desk.comes_true(lambda: desk.bus.story(start), timeout_s=20)
            assert len(await desk.bus.story(start)) == 1
        assert {answer.status_code for answer in answers} == {200}
        return {answer.content for answer in answers}

    told = await asyncio.gather(*(ring(sid) for sid in sids))
    calls = [ids.inbound_call_id("twilio", ACCOUNT, sid) for sid in sids]
    for call_id, answers in zip(calls, told, strict=True):
        (answer,) = answers
        (connect,) = ET.fromstring(answer)
        assert f"/media/{call_id}/1/" in (connect[0].get("url") or "")
    assert {offer.plan.epoch for offer in worker.offers} == {1}
    assert {offer.plan.call_id for offer in worker.offers} == set(calls)
    rows = await desk.rows(
        "select c.id, (select count(*) from epochs e where e.call_id = c.id) from calls c"
        " where provider_call_id = any(%s)",
        sids,
    )
    assert sorted(ids.written(ids.CALL, row[0]) for row in rows) == sorted(calls)
    assert {row[1] for row in rows} == {1}


async def test_without_room_the_caller_hears_a_sentence(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """When no worker accepts for 20 s, the caller hears why, the call ends by itself, and says no_capacity."""
    worker.answer = "full"
    await desk.rings(sid)
    assert len(worker.offers) == 1, "the one worker was asked once"
    await desk.execute("update calls set created_at = now() - interval '20 s' where id = %s", _uuid(call_id))
    answer = await desk.rings(sid)
    assert [verb.tag for verb in ET.fromstring(answer.text)] == ["Say", "Hangup"]
    worker.answer = "accepted"
    assert (await desk.rings(sid)).content == answer.content

    await desk.says(sid, "completed", CallDuration="4")
    shown = await desk.becomes(call_id, status="completed", ended_reason="no_capacity")
    assert shown["duration_ms"] == pytest.approx(4000, abs=1000)
    assert (await desk.comes(call_id, "call.ended"))[-1] == "call.ended"


async def test_a_caller_holds_the_line_until_a_worker_is_free(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """A new call that nobody can take hears a line once, asks again each second, and is placed when there is room."""
    worker.answer = "full"
    say, pause, redirect = ET.fromstring((await desk.rings(sid)).text)
    assert (say.tag, pause.tag, pause.get("length"), redirect.tag) == ("Say", "Pause", "1", "Redirect")
    assert redirect.text == "https://voice.example.com" + INBOUND
    assert [verb.tag for verb in ET.fromstring((await desk.rings(sid)).text)] == ["Pause", "Redirect"]
    worker.answer = "accepted"
    answer = await desk.rings(sid)
    assert [verb.tag for verb in ET.fromstring(answer.text)] == ["Connect"]
    assert (await desk.rings(sid)).content == answer.content
    assert await desk.types(call_id) == ["call.initializing", "call.ringing"]


async def test_who_hangs_up_while_holding_is_not_placed(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A caller who gave up waiting takes no worker's slot."""
    worker.answer = "full"
    await desk.rings(sid)
    await desk.says(sid, "completed", CallDuration="3")
    worker.answer = "accepted"
    assert [verb.tag for verb in ET.fromstring((await desk.rings(sid)).text)] == ["Hangup"]
    assert len(worker.offers) == 1


async def test_a_worker_that_does_not_answer_is_passed_over(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A worker whose beats still count but that is gone costs the caller one offer's wait, not the call."""
    ghost = type(worker)(desk.bus)
    for _ in range(8):
        await ghost.beat()
        answer = await desk.rings(sid := sid[:-2] + f"{_:02d}")
        assert ET.fromstring(answer.text)[0].tag == "Connect"
    ghost.is_draining = True
    await ghost.beat()


async def test_an_unknown_number_is_not_in_service(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A number that nobody bound gets a notice and makes no call."""
    answer = await desk.rings(sid, To="+15559999999")
    assert [verb.tag for verb in ET.fromstring(answer.text)] == ["Say", "Hangup"]
    assert await desk.rows("select 1 from calls where provider_call_id = %s", sid) == []
    assert (await desk.says(sid, "completed")).status_code == 204


async def test_an_agent_without_a_published_version_does_not_answer(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """Callers of an agent that was never published get the same notice, and the call is kept as rejected."""
    await desk.execute("update agent_versions set state = 'archived' where agent_id = %s", _uuid(desk.agent_id))
    try:
        answer = await desk.rings(sid)
    finally:
        await desk.execute("update agent_versions set state = 'published' where agent_id = %s", _uuid(desk.agent_id))
    assert [verb.tag for verb in ET.fromstring(answer.text)] == ["Say", "Hangup"]
    shown = await desk.call(call_id)
    assert (shown["agent_id"], shown["ended_reason"]) == (None, "rejected")
    assert worker.offers == []


@pytest.mark.parametrize("path", [INBOUND, "/webhooks/twilio/voice/status", "/webhooks/twilio/voice/fallback"])
async def test_what_is_not_signed_is_refused(desk: Any, path: str) -> None:
    """A wrong or missing signature, another account, a changed form and plain garbage are 403, never a 500."""
    form = desk.form("CA" + "0" * 32)
    good = (await desk.twilio_asks(path, form)).request.headers["X-Twilio-Signature"]
    changed = [(name, "+1" if name == "From" else value) for name, value in form]
    attempts = [
        ({}, urlencode(form).encode()),
        ({"X-Twilio-Signature": "AAAA"}, urlencode(form).encode()),
        ({"X-Twilio-Signature": "\xe9\xe9".encode("latin-1")}, urlencode(form).encode()),
        ({"X-Twilio-Signature": good}, urlencode(changed).encode()),
        ({"X-Twilio-Signature": good, "Content-Type": "application/json"}, b"\xff\xfe{"),
        ({"X-Twilio-Signature": good}, b"%zz=%00&&==\x00\xff"),
    ]
    for headers, body in attempts:
        answer = await desk.http.post(path, content=body, headers=headers)
        assert answer.status_code == 403, (headers, body)
        assert answer.json()["type"].endswith("signature-refused")
    stranger = await desk.twilio_asks(path, [*form[:1], ("AccountSid", "AC" + "b" * 32), *form[2:]])
    assert stranger.status_code == 403
    assert (await desk.http.get(path)).status_code == 405


async def test_the_port_of_the_public_address_does_not_matter(desk: Any, sid: str, worker: Any) -> None:
    """Twilio drops the port when it signs voice over https, and other senders keep it."""
    form = [*desk.form(sid), ("Digits", "1"), ("Digits", "2"), ("ToZip", "")]
    answer = await desk.twilio_asks(INBOUND + "?try=2", form)
    assert answer.status_code == 200


async def test_a_failure_of_ours_is_a_document_too(desk: Any, worker: Any, sid: str) -> None:
    """What the database refuses ends a call with a sentence and a status callback with a bare 503, never a problem."""
    answer = await desk.rings(sid, From="+1\0")
    assert answer.status_code == 200
    assert [verb.tag for verb in ET.fromstring(answer.text)] == ["Say", "Hangup"]
    lost = await desk.says("CA\0", "completed")
    assert (lost.status_code, lost.content) == (503, b"")


async def test_an_ordinary_call_from_ring_to_end(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Ringing, answered when the worker has the audio, live, over when both have spoken: one call.ended, settled."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    shown = await desk.becomes(call_id, status="in_progress")
    assert shown["answered_at"] is not None
    await desk.becomes(call_id, status="in_progress", event_count=5)
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.comes(call_id, "epoch.closed")
    assert "call.ended" not in await desk.types(call_id), "the carrier has not spoken yet"
    await desk.says(sid, "completed", CallDuration="1", SequenceNumber="3")
    assert await desk.comes(call_id, "call.ended") == [
        "call.initializing",
        "call.ringing",
        "call.answered",
        "epoch.opened",
        "call.started",
        "epoch.closed",
        "carrier.reported",
        "call.ended",
    ]
    shown = await desk.call(call_id)
    assert (shown["status"], shown["ended_reason"]) == ("completed", "customer_ended_call")
    settled = "select 1 from calls where id = %s and settled_at is not null"
    await desk.comes_true(lambda: desk.rows(settled, _uuid(call_id)))
    assert await desk.bus.story(subjects.call_story(desk.project_id, call_id)) == []


async def test_status_callbacks_are_taken_once_in_any_order(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Repeated and reordered callbacks leave one fact each, and no way back from the final state."""
    await desk.rings(sid)
    for _ in range(2):
        await desk.says(sid, "completed", SequenceNumber="3", CallDuration="7")
        await desk.says(sid, "in-progress", SequenceNumber="2")
        await desk.says(sid, "ringing", SequenceNumber="1")
    types = await desk.types(call_id)
    assert types.count("carrier.reported") == 3
    assert types.count("call.answered") == 1
    assert (await desk.call(call_id))["status"] == "completed"


async def test_when_twilio_could_not_reach_us_the_caller_hears_it(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """The fallback speaks a sentence and hangs up; the call says telephony_failed."""
    await desk.rings(sid)
    answer = await desk.twilio_asks("/webhooks/twilio/voice/fallback", desk.form(sid, ErrorCode="11200"))
    assert [verb.tag for verb in ET.fromstring(answer.text)] == ["Say", "Hangup"]
    await desk.says(sid, "completed", CallDuration="3")
    await desk.becomes(call_id, ended_reason="telephony_failed")
    unknown = await desk.twilio_asks("/webhooks/twilio/voice/fallback", desk.form("CA" + "1" * 32))
    assert unknown.status_code == 200


def _uuid(wire_id: str) -> str:
    return wire_id.rpartition("_")[2]
