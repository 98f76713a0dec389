"""Calls that are deleted, by request or because they were kept long enough: nothing of them is left, or comes back."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from turncall_blobs import keys
from turncall_bus.bus import Delivered
from turncall_control.calls import erasing
from turncall_control.calls.projector import Projector
from turncall_control.calls.spools import Spools
from turncall_control.erasure import purge, retention
from turncall_proto import ids, subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import SettlementAnswered, SettlementAsked, SpooledEpoch
from turncall_proto.events import RecordingPart, RecordingReady, TranscriptFinal
from turncall_proto.ids import CallId
from turncall_runtime.metrics import new_registry
from turncall_runtime.secret import Secret

ACCOUNT = "AC" + "a" * 32
CALLER = "+15550001111"
SAID = {"speaker": "caller", "text": "My name is Ada.", "start_ms": 0, "end_ms": 900, "turn": 1}


def part_of(desk: Any, call_id: CallId) -> str:
    """The key of the recording's one part."""
    return keys.recording_part(desk.project_id, call_id, 1, 0)


async def settled(desk: Any, worker: Any, *, caller: str = CALLER, has_recording: bool = True) -> Any:
    """A call that was talked on and recorded, and of which nothing is awaited any more; returns its plan."""
    sid = "CA" + uuid4().hex
    await desk.rings(sid, From=caller)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    await worker.publish(worker.fact(TranscriptFinal, plan, **SAID))
    if has_recording:
        key = part_of(desk, plan.call_id)
        await desk.plane.blobs.put(key, bytes(364), "audio/wav")
        parts = (RecordingPart(key=key, size_bytes=364, duration_ms=10),)
        await worker.publish(worker.fact(RecordingReady, plan, rate_hz=8000, duration_ms=10, parts=parts))
    await worker.closes(plan, CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="2")
    await desk.comes_true(lambda: _is_settled(desk, plan.call_id), timeout_s=20)
    return plan


async def _is_settled(desk: Any, call_id: CallId) -> bool:
    query = "select 1 from calls where id = %s and settled_at is not null"
    return bool(await desk.rows(query, ids.parsed(ids.CALL, call_id)))


async def blobs_of(desk: Any, call_id: CallId) -> list[str]:
    """What the object store holds of a call."""
    return [key async for key in desk.plane.blobs.keys(keys.recording(desk.project_id, call_id))]


async def rows_of(desk: Any, call_id: CallId) -> dict[str, int]:
    """How many rows each table holds of a call, where it holds any."""
    call = ids.parsed(ids.CALL, call_id)
    counted = {"calls": await desk.rows("select count(*) from calls where id = %s", call)}
    for table in erasing.tables():
        counted[table] = await desk.rows(f"select count(*) from {table} where call_id = %s", call)
    return {table: rows[0][0] for table, rows in counted.items() if rows[0][0]}


async def asked(desk: Any, method: str, path: str, **options: Any) -> Any:
    """A request of the project's user."""
    return await desk.http.request(method, path, headers=desk.bearer, **options)


async def test_deleted_call_leaves_nothing(desk: Any, worker: Any) -> None:
    """Rows in every table, sound, deliveries and messages are gone; the call is not found, another one is untouched."""
    hook = await asked(desk, "POST", "/v1/webhooks", json={"url": "http://127.0.0.1:65000/hooks"})
    plan, other = await settled(desk, worker), await settled(desk, worker)
    await desk.execute("update webhooks set is_enabled = false where id = %s", _webhook(hook.json()["webhook"]["id"]))
    before = await rows_of(desk, plan.call_id)
    assert {"calls", "call_events", "epochs", "webhook_deliveries", "carrier_callbacks"} <= before.keys()
    path = f"/v1/calls/{plan.call_id}"
    assert (await asked(desk, "DELETE", path)).status_code == 204
    assert await rows_of(desk, plan.call_id) == {}
    assert await blobs_of(desk, plan.call_id) == []
    assert await desk.bus.story(subjects.call(desk.project_id, plan.call_id, "event")) == []
    for gone in (path, f"{path}/transcript", f"{path}/recording"):
        assert (await desk.get(gone)).status_code == 404
    assert (await asked(desk, "DELETE", path)).status_code == 404
    assert (await desk.get(f"/v1/calls/{other.call_id}/recording")).status_code == 200
    assert (await rows_of(desk, other.call_id)).keys() == before.keys()


def _webhook(webhook_id: str) -> Any:
    return ids.parsed(ids.WEBHOOK, webhook_id)


async def test_deletion_is_in_the_audit_log_without_what_was_deleted(desk: Any, worker: Any) -> None:
    """The entry names who deleted which call; neither a number nor a word of the call is in it."""
    plan = await settled(desk, worker, has_recording=False)
    await asked(desk, "DELETE", f"/v1/calls/{plan.call_id}")
    entries = await desk.rows(
        "select operation, changes, e::text from audit_entries e where object_id = %s", plan.call_id
    )
    assert [entry[:2] for entry in entries] == [("delete_call", [])]
    assert CALLER not in entries[0][2]


async def test_live_call_is_not_deleted(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A call of which something may still come is a conflict, and stays whole."""
    await desk.rings(sid)
    answer = await asked(desk, "DELETE", f"/v1/calls/{call_id}")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:turncall:problem:call-unsettled")
    assert (await desk.call(call_id))["status"] == "ringing"


async def test_what_comes_of_an_erased_call_is_dropped(desk: Any, worker: Any) -> None:
    """Facts that a worker's disk brings back make no row and stay in no stream; the worker is told to delete them."""
    plan = await settled(desk, worker)
    await asked(desk, "DELETE", f"/v1/calls/{plan.call_id}")
    late = worker.fact(TranscriptFinal, plan, **SAID)
    await worker.publish(late)
    event = subjects.call(desk.project_id, plan.call_id, "event")
    await desk.comes_true(lambda: _is_empty(desk, event))
    projector = Projector(desk.plane.database.pool, desk.bus, new_registry("control", "test"), {"twilio": ACCOUNT})
    await projector.project([Delivered(subject=event, data=encode(late), stream_seq=1, delivery=1)])
    assert await rows_of(desk, plan.call_id) == {}
    epoch = SpooledEpoch(call_id=plan.call_id, epoch=1, last_seq=late.seq)
    stranger = SpooledEpoch(call_id=CallId("call_" + "e" * 32), epoch=1, last_seq=3)
    answer = await Spools(desk.plane.database.pool).answer(encode(SettlementAsked(epochs=(epoch, stranger))))
    assert decode(answer, SettlementAnswered) == SettlementAnswered(settled=(epoch,), missing=())


async def _is_empty(desk: Any, subject: str) -> bool:
    return await desk.bus.story(subject) == []


async def test_erased_calls_are_forgotten_in_the_end(desk: Any, worker: Any) -> None:
    """A part of the recording that was uploaded after the erasure is deleted when the call is forgotten."""
    plan = await settled(desk, worker)
    await asked(desk, "DELETE", f"/v1/calls/{plan.call_id}")
    await desk.plane.blobs.put(part_of(desk, plan.call_id), b"late", "audio/wav")
    sweep = (desk.plane.database.pool, desk.plane.blobs, desk.bus)
    await erasing.sweep(*sweep)
    assert await blobs_of(desk, plan.call_id) != [], "not yet"
    call = ids.parsed(ids.CALL, plan.call_id)
    await desk.execute(
        "update erased_calls set erased_at = now() - %s - interval '1 s' where call_id = %s", erasing.REMEMBERED, call
    )
    await erasing.sweep(*sweep)
    assert await blobs_of(desk, plan.call_id) == []
    assert await desk.rows("select 1 from erased_calls where call_id = %s", call) == []


async def test_calls_of_a_number_are_deleted(desk: Any, worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All settled calls of a person go, in several batches; live ones are counted, everybody else's stay."""
    monkeypatch.setattr(erasing, "AT_ONCE", 2)
    ada = f"+1555{uuid4().int % 10**7:07d}"
    theirs = [await settled(desk, worker, caller=ada, has_recording=False) for _ in range(3)]
    other = await settled(desk, worker, has_recording=False)
    await desk.rings(live := "CA" + uuid4().hex, From=ada)
    answer = await asked(desk, "POST", "/v1/calls/delete-by-number", json={"number": ada})
    assert answer.json() == {"deleted": 3, "sessions": 0, "remaining": 0, "unsettled": 1}
    assert [await rows_of(desk, plan.call_id) for plan in theirs] == [{}] * 3
    await desk.call(other.call_id)
    assert (await desk.call(ids.inbound_call_id("twilio", ACCOUNT, live)))["status"] == "ringing"
    strangers = await desk.another_project()
    refused = await desk.http.post("/v1/calls/delete-by-number", headers=strangers, json={"number": CALLER})
    assert refused.json()["deleted"] == 0
    assert (await asked(desk, "POST", "/v1/calls/delete-by-number", json={"number": desk.number})).json() == {
        "deleted": 0,
        "sessions": 0,
        "remaining": 0,
        "unsettled": 0,
    }, "the project's own number is nobody's"


async def test_two_requests_for_one_call_do_not_meet(desk: Any, worker: Any) -> None:
    """Deleted twice at once, a call is deleted once, and neither request fails."""
    plan = await settled(desk, worker, has_recording=False)
    path = f"/v1/calls/{plan.call_id}"
    answers = await asyncio.gather(*(asked(desk, "DELETE", path) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {204, 404}
    assert await rows_of(desk, plan.call_id) == {}


async def keep(desk: Any, **days: int | None) -> None:
    """Sets how long the project keeps things, and erases what is older."""
    settings = Jsonb({"retention": days})
    await desk.execute(
        "update projects set settings = %s where id = %s", settings, ids.parsed(ids.PROJECT, desk.project_id)
    )
    sweeps = (retention.sweep(desk.plane.database.pool, desk.plane.blobs) for _ in range(3))
    await asyncio.gather(*sweeps)


async def aged(desk: Any, plan: Any, days: int) -> CallId:
    """Has a call begun so many days ago."""
    await desk.execute(
        "update calls set created_at = now() - make_interval(days => %s) where id = %s",
        days,
        ids.parsed(ids.CALL, plan.call_id),
    )
    call_id: CallId = plan.call_id
    return call_id


@pytest.mark.proves("settings.retention.recordings_days")
async def test_recordings_go_when_their_time_has_come(desk: Any, worker: Any) -> None:
    """An old recording is deleted and the call says so; a younger one stays, and so does everything without a limit."""
    old, young = await aged(desk, await settled(desk, worker), 8), await aged(desk, await settled(desk, worker), 6)
    silent = await aged(desk, await settled(desk, worker, has_recording=False), 8)
    await keep(desk, recordings_days=None, calls_days=None)
    assert await blobs_of(desk, old) != []
    await keep(desk, recordings_days=7)
    assert await blobs_of(desk, old) == []
    shown = await desk.call(old)
    assert shown["recording_deleted_at"] is not None
    assert (await desk.call(silent))["recording_deleted_at"] is None, "there was none"
    refused = await desk.get(f"/v1/calls/{old}/recording")
    assert (refused.status_code, refused.json()["detail"]) == (404, "the recording has been deleted")
    assert (await desk.get(f"/v1/calls/{old}/transcript")).json()["utterances"] != []
    assert (await desk.call(young))["recording_deleted_at"] is None
    assert (await desk.get(f"/v1/calls/{young}/recording")).status_code == 200
    await keep(desk, recordings_days=7)
    assert await desk.call(old) == shown, "a second sweep changes nothing"


@pytest.mark.proves("settings.retention.calls_days")
async def test_calls_go_when_their_time_has_come(desk: Any, worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old calls are erased in batches by replicas that sweep at once; younger and live ones stay."""
    monkeypatch.setattr(erasing, "AT_ONCE", 1)
    old = [await aged(desk, await settled(desk, worker), 8) for _ in range(3)]
    young = await aged(desk, await settled(desk, worker), 6)
    await keep(desk, calls_days=7)
    assert [(await rows_of(desk, call), await blobs_of(desk, call)) for call in old] == [({}, [])] * 3
    await desk.call(young)
    assert await blobs_of(desk, young) != []


async def test_sound_without_a_fact_goes_too(desk: Any, worker: Any) -> None:
    """Parts that a lost worker uploaded and never told of are deleted with the others."""
    plan = await settled(desk, worker, has_recording=False)
    await desk.plane.blobs.put(part_of(desk, plan.call_id), b"untold", "audio/wav")
    call_id = await aged(desk, plan, 8)
    await keep(desk, recordings_days=7)
    assert await blobs_of(desk, call_id) == []
    assert (await desk.call(call_id))["recording_deleted_at"] is not None


def test_every_table_of_calls_is_covered() -> None:
    """Whatever table has rows of single calls is emptied by an erasure, referring ones first."""
    assert {"call_events", "epochs", "carrier_callbacks", "webhook_deliveries"} <= set(erasing.tables())
    assert not {"calls", "erased_calls"} & set(erasing.tables())


async def test_calls_of_a_deleted_project_end_before_it_is_purged(
    open_desk: Any, open_worker: Any, rest_face: Any, sid: str, call_id: CallId
) -> None:
    """A live call's line is closed at the carrier; the purge waits for its last word, and no fact brings it back."""
    async with open_desk(rest_face, platform_key=Secret("the-operators")) as desk, open_worker(desk) as worker:
        operator = {"X-Platform-Key": "the-operators"}
        path = f"/v1/projects/{desk.project_id}"
        await desk.rings(sid)
        plan = worker.offers[-1].plan
        await worker.opens(plan)
        await desk.becomes(call_id, status="in_progress")
        assert (await desk.http.delete(path, headers=operator)).status_code == 200
        assert (await desk.http.post(f"{path}/purge", headers=operator)).status_code == 202
        assert (await desk.get(f"/v1/calls/{call_id}")).status_code == 401
        await desk.comes_true(lambda: rest_face.ended(sid), timeout_s=20)
        assert (await desk.rings("CA" + uuid4().hex)).status_code == 200
        assert len(worker.offers) == 1, "its number no longer answers"
        await purge.sweep(desk.plane)
        assert await rows_of(desk, call_id) != {}, "the carrier has not said that the call is over"
        await worker.closes(plan, CallState.COMPLETED, EndedReason.API_ENDED_CALL)
        await desk.says(sid, "completed", CallDuration="2")
        await desk.comes_true(lambda: _is_purged(desk), timeout_s=20)
        await worker.publish(worker.fact(TranscriptFinal, plan, **SAID))
        event = subjects.call(desk.project_id, call_id, "event")
        await desk.comes_true(lambda: _is_empty(desk, event))
        assert await rows_of(desk, call_id) == {}


async def _is_purged(desk: Any) -> bool:
    return not await desk.rows("select 1 from projects where id = %s", ids.parsed(ids.PROJECT, desk.project_id))
