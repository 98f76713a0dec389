"""The recording of an epoch whose worker died is told of by control, from what the store holds."""

import io
import wave
from typing import Any

from turncall_blobs import keys
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.events import RecordingPart, RecordingReady
from turncall_proto.ids import CallId


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
