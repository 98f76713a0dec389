"""Recordings: those of dead workers are told of by control, those of projects with a bucket are moved there."""

import io
import socket
import wave
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from turncall_blobs import BlobStore, Bucket, keys, open_bucket
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.events import RecordingPart, RecordingReady
from turncall_proto.ids import PROJECT, CallId, parsed
from turncall_testkit.stack import Stack


def wav(sound: bytes) -> bytes:
    """A part as a worker stores it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(sound)
    return file.getvalue()


async def stored(desk: Any, call_id: CallId, epoch: int, index: int, sound: bytes) -> RecordingPart:
    """A part in the store."""
    key = keys.recording_part(desk.project_id, call_id, epoch, index)
    await desk.plane.blobs.put(key, wav(sound), "audio/wav")
    return RecordingPart(key=key, size_bytes=44 + len(sound), duration_ms=len(sound) // 32)


async def looks_again(desk: Any, call_id: CallId) -> None:
    """Has control look now, and waits until it has."""
    row = call_id.removeprefix("call_")
    await desk.execute("update calls set recording_due = now() where id = %s", row)

    async def looked() -> bool:
        (due,) = await desk.rows("select recording_due is null or recording_due > now() from calls where id = %s", row)
        return due == (True,)

    await desk.comes_true(looked)


async def said(desk: Any, call_id: CallId) -> list[dict[str, Any]]:
    """What was said of the call's recording, as users read it."""
    events = (await desk.get(f"/v1/calls/{call_id}/events", params={"limit": 200})).json()["items"]
    return [event["data"] for event in events if event["type"] == "recording.ready"]


async def sound(desk: Any, call_id: CallId) -> bytes:
    """The recording that the API serves, without its head."""
    answer = await desk.get(f"/v1/calls/{call_id}/recording")
    assert answer.status_code == 200, answer.text
    return answer.content[44:]


async def lost_and_resumed(desk: Any, worker: Any, sid: str, call_id: CallId) -> CallStart:
    """A call whose first worker is gone; returns the plan of the second epoch, which is open."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.comes(call_id, "call.started")
    await desk.twilio_asks(f"/webhooks/twilio/voice/resume/{call_id}/1", desk.form(sid, CallStatus="in-progress"))
    plan: CallStart = worker.offers[-1].plan
    assert plan.epoch == 2
    await worker.opens(plan)
    return plan


async def ends(desk: Any, worker: Any, plan: CallStart, sid: str) -> None:
    """The call ends in the hands of its latest worker."""
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="9")
    await desk.comes(plan.call_id, "call.ended")


async def test_a_dead_workers_recording_is_told_and_completed(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """What the store holds of the lost epoch joins the rest, marked as not whole; what a disk brings back later is told
    anew, and the newest statement counts; nothing new is told twice; the living worker's own word stands."""
    plan = await lost_and_resumed(desk, worker, sid, call_id)
    first = [await stored(desk, call_id, 1, index, bytes([index + 1]) * 3200) for index in range(2)]
    own = await stored(desk, call_id, 2, 0, b"\x09" * 640)
    await stored(desk, call_id, 2, 1, b"\x08" * 640)  # of the second worker's own word it is no part
    await worker.publish(worker.fact(RecordingReady, plan, rate_hz=8000, duration_ms=20, parts=(own,)))
    await ends(desk, worker, plan, sid)
    assert await sound(desk, call_id) == b"\x09" * 640

    await looks_again(desk, call_id)
    await desk.comes_true(lambda: _count(desk, call_id, 2))
    _, salvaged = await said(desk, call_id)
    assert (salvaged["of_epoch"], salvaged["is_whole"], salvaged["epoch"]) == (1, False, 0)
    assert (salvaged["duration_ms"], salvaged["rate_hz"]) == (200, 8000)
    assert [part["key"] for part in salvaged["parts"]] == [part.key for part in first]
    assert await sound(desk, call_id) == b"\x01" * 3200 + b"\x02" * 3200 + b"\x09" * 640

    await looks_again(desk, call_id)
    await stored(desk, call_id, 1, 2, b"\x03" * 3200)
    await looks_again(desk, call_id)
    await desk.comes_true(lambda: _count(desk, call_id, 3))
    assert await sound(desk, call_id) == b"\x01" * 3200 + b"\x02" * 3200 + b"\x03" * 3200 + b"\x09" * 640


async def test_nothing_is_told_of_what_is_no_recording(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """An epoch that left nothing, and a part that is no WAV file, make no statement; the next look is due."""
    plan = await lost_and_resumed(desk, worker, sid, call_id)
    key = keys.recording_part(desk.project_id, call_id, 1, 0)
    await desk.plane.blobs.put(key, b"garbage", "audio/wav")
    await ends(desk, worker, plan, sid)
    await looks_again(desk, call_id)
    assert await said(desk, call_id) == []
    (due,) = await desk.rows("select recording_due from calls where id = %s", call_id.removeprefix("call_"))
    assert due[0] is not None


async def test_a_call_whose_workers_told_of_everything_is_not_looked_at_again(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """The one look finds that no epoch lacks its word."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    part = await stored(desk, call_id, 1, 0, b"\x01" * 640)
    await worker.publish(worker.fact(RecordingReady, plan, rate_hz=8000, duration_ms=20, parts=(part,)))
    await ends(desk, worker, plan, sid)
    await looks_again(desk, call_id)
    assert await desk.rows("select recording_due from calls where id = %s", call_id.removeprefix("call_")) == [(None,)]
    assert len(await said(desk, call_id)) == 1


async def _count(desk: Any, call_id: CallId, wanted: int) -> bool:
    return len(await said(desk, call_id)) == wanted


@pytest.fixture
async def own(stack: Stack) -> AsyncIterator[tuple[BlobStore, dict[str, Any]]]:
    """A bucket that is no one's yet, and the credential for it."""
    urls = stack.urls
    endpoint = parse_qs(urlsplit(urls.blobs_url).query)["endpoint"][0]
    where = Bucket(name="own-recordings", endpoint=endpoint, region="us-east-1")
    credential = {"kind": "s3", "bucket": where.name, "endpoint": endpoint}
    credential |= {"access_key": urls.blobs_access_key, "secret_key": urls.blobs_secret_key}
    async with open_bucket(where, urls.blobs_access_key, urls.blobs_secret_key, create=True) as store:
        yield store, credential


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def does_chores(desk: Any, call_id: CallId) -> None:
    """Has what is due in the bucket done now."""
    row = call_id.removeprefix("call_")
    await desk.execute("update bucket_chores set due_at = now() where call_id = %s", row)

    async def is_done() -> bool:
        due = await desk.rows("select due_at from bucket_chores where call_id = %s and due_at <= now()", row)
        waits = "select 1 from bucket_chores where call_id = %s and due_at > now() + interval '9 min'"
        return not due and not await desk.rows(waits, row)

    await desk.comes_true(is_done)


async def listed(store: BlobStore, desk: Any, call_id: CallId) -> list[str]:
    """The call's parts in a store."""
    return [key async for key in store.keys(keys.recording(desk.project_id, call_id))]


async def recorded(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A call of one second that is over."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    parts = [await stored(desk, call_id, 1, index, bytes([index + 1]) * 3200) for index in range(2)]
    await worker.publish(worker.fact(RecordingReady, plan, rate_hz=8000, duration_ms=200, parts=tuple(parts)))
    await ends(desk, worker, plan, sid)


async def test_a_recording_lies_in_the_projects_own_bucket(
    desk: Any, worker: Any, sid: str, call_id: CallId, own: tuple[BlobStore, dict[str, Any]]
) -> None:
    """While the bucket is out of reach the recording stays and plays; then it is moved and plays from there, with what
    comes late; it goes with its call."""
    bucket, credential = own
    path, nowhere = "/v1/credentials", f"http://127.0.0.1:{closed_port()}"
    await desk.execute("update api_keys set role = 'admin' where project_id = %s", parsed(PROJECT, desk.project_id))
    desk.plane.keyring.forget_project(desk.project_id)
    unreachable = await desk.http.put(path, headers=desk.bearer, json=credential | {"endpoint": nowhere})
    assert (unreachable.status_code, unreachable.json()["name"]) == (200, "own-recordings")
    assert credential["secret_key"] not in unreachable.text
    await recorded(desk, worker, sid, call_id)
    verify = f"/v1/credentials/{unreachable.json()['id']}/verify"
    assert (await desk.http.post(verify, headers=desk.bearer, json={})).json()["outcome"] == "unreachable"
    assert len(await listed(desk.plane.blobs, desk, call_id)) == 2
    whole = b"\x01" * 3200 + b"\x02" * 3200
    assert await sound(desk, call_id) == whole

    assert (await desk.http.put(path, headers=desk.bearer, json=credential)).status_code == 200
    assert (await desk.http.post(verify, headers=desk.bearer, json={})).json()["outcome"] == "accepted"
    await does_chores(desk, call_id)
    assert await listed(desk.plane.blobs, desk, call_id) == []
    assert len(await listed(bucket, desk, call_id)) == 2
    assert await sound(desk, call_id) == whole
    ranged = await desk.get(f"/v1/calls/{call_id}/recording", headers={"Range": "bytes=44-47"})
    assert (ranged.status_code, ranged.content) == (206, b"\x01" * 4)

    await stored(desk, call_id, 1, 2, b"\x03" * 3200)
    await does_chores(desk, call_id)
    assert len(await listed(bucket, desk, call_id)) == 3

    settled = "select 1 from calls where id = %s and settled_at is not null"
    await desk.comes_true(lambda: desk.rows(settled, call_id.removeprefix("call_")))
    assert (await desk.http.delete(f"/v1/calls/{call_id}", headers=desk.bearer)).status_code == 204
    await does_chores(desk, call_id)
    assert await listed(bucket, desk, call_id) == []
    assert await desk.rows("select from bucket_chores") == []
    assert (await desk.http.delete(verify.removesuffix("/verify"), headers=desk.bearer)).status_code == 204
