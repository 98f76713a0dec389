"""The record of a call as the API shows it: lists, transcript, tools, turns, recording, live feed."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from turncall_control.calls import links
from turncall_proto import ids, subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import encode
from turncall_proto.events import (
    RecordingPart,
    RecordingReady,
    ToolCalled,
    ToolReturned,
    TranscriptFinal,
    TurnMeasured,
)
from turncall_proto.ids import CallId
from turncall_proto.live import TranscriptPartial


async def in_talk(desk: Any, worker: Any, sid: str) -> Any:
    """A call that its worker holds; returns the plan."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    await desk.comes(plan.call_id, "call.started")
    return plan


def utterance(worker: Any, plan: Any, speaker: str, text: str, start_ms: int, turn: int, **more: Any) -> Any:
    """A finished utterance of 100 ms."""
    return worker.fact(
        TranscriptFinal, plan, speaker=speaker, text=text, start_ms=start_ms, end_ms=start_ms + 100, turn=turn, **more
    )


async def test_the_transcript_is_in_the_order_of_speech(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Both sides, by when they began to speak, also when the facts were stated in another order."""
    plan = await in_talk(desk, worker, sid)
    await worker.publish(
        utterance(worker, plan, "agent", "Hello.", 0, 0, is_interrupted=True),
        utterance(worker, plan, "agent", "It is nine.", 900, 1),
        utterance(worker, plan, "caller", "What time is it?", 300, 1),
    )
    await desk.becomes(call_id, event_count=8)
    shown = (await desk.get(f"/v1/calls/{call_id}/transcript")).json()["utterances"]
    assert [(said["speaker"], said["text"], said["is_interrupted"]) for said in shown] == [
        ("agent", "Hello.", True),
        ("caller", "What time is it?", False),
        ("agent", "It is nine.", False),
    ]


async def test_tools_are_shown_with_their_results(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """An invocation is joined with its result; one that has not returned shows nothing but the question."""
    plan = await in_talk(desk, worker, sid)
    await worker.publish(
        worker.fact(ToolCalled, plan, tool_call_id="a", tool="book", arguments={"day": "Monday"}, turn=1),
        worker.fact(ToolCalled, plan, tool_call_id="b", tool="end_call", arguments={}, turn=2),
        worker.fact(ToolReturned, plan, tool_call_id="a", tool="book", is_ok=True, output={"ok": 1}, latency_ms=35),
    )
    await desk.becomes(call_id, event_count=8)
    booked, ending = (await desk.get(f"/v1/calls/{call_id}/tools")).json()["tools"]
    assert (booked["arguments"], booked["output"], booked["latency_ms"], booked["is_ok"]) == (
        {"day": "Monday"},
        {"ok": 1},
        35,
        True,
    )
    assert (ending["tool"], ending["turn"], ending["is_ok"], ending["returned_at"]) == ("end_call", 2, None, None)


async def test_a_use_that_the_next_worker_repeated_is_one_use(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """A tool in flight when its worker died is repeated under the same id: one use, begun once, with its result."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    called = {"tool_call_id": "a", "tool": "book", "arguments": {}, "turn": 1}
    await worker.publish(first := worker.fact(ToolCalled, plan, **called))
    later = msgspec.structs.replace(plan, epoch=2)
    result = {"tool_call_id": "a", "tool": "book", "is_ok": True, "output": 7, "latency_ms": 35}
    await worker.publish(worker.fact(ToolCalled, later, **called), worker.fact(ToolReturned, later, **result))
    await desk.comes(call_id, "tool.result")
    (use,) = (await desk.get(f"/v1/calls/{call_id}/tools")).json()["tools"]
    assert (use["epoch"], use["output"], use["is_ok"]) == (1, 7, True)
    assert datetime.fromisoformat(use["called_at"]) == first.at


async def test_turns_show_where_the_time_went(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Each measured turn with its parts; parts that did not happen are null."""
    plan = await in_talk(desk, worker, sid)
    await worker.publish(worker.fact(TurnMeasured, plan, turn=1, reply_ms=740, endpointing_ms=200))
    await desk.becomes(call_id, event_count=6)
    (turn,) = (await desk.get(f"/v1/calls/{call_id}/turns")).json()["turns"]
    assert (turn["turn"], turn["reply_ms"], turn["endpointing_ms"], turn["llm_first_token_ms"]) == (1, 740, 200, None)


async def test_calls_are_listed_newest_first_and_narrowed(desk: Any, worker: Any) -> None:
    """Pages follow each other without gap or repeat; each filter keeps exactly what it names."""
    sids = ["CA" + uuid4().hex for _ in range(5)]
    before = datetime.now(UTC)
    for sid in sids:
        await desk.rings(sid)
    await desk.says(sids[2], "busy")

    async def listed(**wanted: Any) -> list[str]:
        found: list[str] = []
        params = {"limit": 2, "created_from": before.isoformat(), **wanted}
        while True:
            answer = await desk.get("/v1/calls", params=params)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += [call["provider_call_id"] for call in page["items"]]
            if page["next_cursor"] is None:
                return found
            params["cursor"] = page["next_cursor"]

    assert await listed() == sids[::-1]
    assert await listed(status="busy") == [sids[2]]
    assert await listed(ended_reason="customer_busy", direction="inbound", channel="phone") == [sids[2]]
    assert await listed(agent_id=desk.agent_id, version_id=desk.version_id, number_id=desk.number_id) == sids[::-1]
    assert await listed(agent_id="agt_" + "0" * 32) == []
    assert await listed(direction="outbound") == []
    assert await listed(created_until=before.isoformat()) == []
    for name, value in [("status", "asleep"), ("agent_id", "x"), ("created_from", "today"), ("cursor", "!!")]:
        answer = await desk.get("/v1/calls", params={name: value})
        assert answer.status_code == 422, (name, answer.text)
        assert answer.json()["errors"][0]["field"] == name


async def test_calls_are_found_by_their_parties_and_marks(desk: Any, worker: Any) -> None:
    """Either number, and any of the user's marks, several of them together; a mark is changed key by key."""
    ours, theirs = ("CA" + uuid4().hex for _ in range(2))
    caller = f"+1555{uuid4().int % 10**7:07}"
    await desk.rings(theirs)
    await desk.rings(ours, From=caller)
    call = (await desk.get("/v1/calls", params={"from_number": caller})).json()["items"][0]
    assert call["provider_call_id"] == ours
    path = f"/v1/calls/{call['id']}"

    async def marked(**metadata: str | None) -> Any:
        return await desk.http.patch(path, json={"metadata": metadata}, headers=desk.bearer)

    ticket = uuid4().hex
    assert (await marked(ticket=ticket, url="https://x.example/a:b", draft="yes")).status_code == 200
    changed = await marked(draft=None)
    assert changed.json()["metadata"] == {"ticket": ticket, "url": "https://x.example/a:b"}

    async def found(*marks: str) -> list[str]:
        answer = await desk.get("/v1/calls", params={"metadata": list(marks), "to_number": desk.number})
        assert answer.status_code == 200, answer.text
        return [each["provider_call_id"] for each in answer.json()["items"]]

    assert await found(f"ticket:{ticket}") == [ours]
    assert await found(f"ticket:{ticket}", "url:https://x.example/a:b") == [ours]
    assert await found(f"ticket:{ticket}", "draft:yes") == []
    assert (await desk.get("/v1/calls", params={"to_number": "+15550"})).json()["items"] == []
    for wrong in ("ticket", ":x"):
        assert (await desk.get("/v1/calls", params={"metadata": wrong})).status_code == 422
    refused = await marked(**{f"k{n}": "v" for n in range(49)})
    assert refused.status_code == 422, "two and forty-nine are more than fifty"
    assert (await desk.http.patch(path, json={"metadata": {"a b": "x"}}, headers=desk.bearer)).status_code == 422


async def test_a_call_of_another_project_is_not_there(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Every route under a call answers 404 for what another project owns, exactly as for what does not exist."""
    await desk.rings(sid)
    stranger = await desk.another_project()
    for path in ("", "/events", "/transcript", "/tools", "/turns", "/recording", "/events/stream"):
        answers = [
            await desk.http.get(f"/v1/calls/{which}{path}", headers=stranger) for which in (call_id, "call_" + "c" * 32)
        ]
        assert [answer.status_code for answer in answers] == [404, 404], path
        assert len({answer.json().get("detail", "") for answer in answers}) == 1
    assert (await desk.http.post(f"/v1/calls/{call_id}/end", headers=stranger)).status_code == 404
    assert (await desk.http.get("/v1/calls", headers=stranger)).json()["items"] == []


async def test_events_page_in_order(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Facts come in the order of call_seq, page after page."""
    await in_talk(desk, worker, sid)
    found: list[int] = []
    params: dict[str, Any] = {"limit": 2, "internal": True}
    while True:
        page = (await desk.get(f"/v1/calls/{call_id}/events", params=params)).json()
        found += [event["call_seq"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert found == [1, 2, 3, 4, 5]


def wav(frames: bytes) -> bytes:
    """A part as a worker stores it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(frames)
    return file.getvalue()


@pytest.fixture
async def recorded(desk: Any, worker: Any, sid: str, call_id: CallId) -> bytes:
    """A call recorded in three parts over two epochs; returns its sound."""
    plan = await in_talk(desk, worker, sid)
    sounds = [bytes([n]) * length for n, length in ((1, 4000), (2, 8000), (3, 400))]
    parts = []
    for n, sound in enumerate(sounds):
        key = f"recordings/{desk.project_id}/{call_id}/{n}.wav"
        await desk.plane.blobs.put(key, wav(sound), "audio/wav")
        parts.append(RecordingPart(key=key, size_bytes=len(wav(sound)), duration_ms=len(sound) // 32))
    second = msgspec.structs.replace(plan, epoch=2)
    await worker.publish(
        worker.fact(RecordingReady, second, rate_hz=8000, duration_ms=12, parts=(parts[2],)),
        worker.fact(RecordingReady, plan, rate_hz=8000, duration_ms=375, parts=(parts[0], parts[1])),
    )
    await desk.becomes(call_id, event_count=7)
    return b"".join(sounds)


async def test_the_recording_is_one_file(desk: Any, recorded: bytes, call_id: CallId) -> None:
    """The parts of all epochs come as one WAV file that a player understands, with its length known beforehand."""
    answer = await desk.get(f"/v1/calls/{call_id}/recording")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert int(answer.headers["content-length"]) == len(answer.content) == 44 + len(recorded)
    assert answer.headers["accept-ranges"] == "bytes"
    with wave.open(io.BytesIO(answer.content)) as reader:
        assert (reader.getnchannels(), reader.getframerate(), reader.getsampwidth()) == (2, 8000, 2)
        assert reader.readframes(reader.getnframes()) == recorded


async def test_any_part_of_the_recording_can_be_asked_for(desk: Any, recorded: bytes, call_id: CallId) -> None:
    """Ranges across parts, at the ends and inside the header are exact; impossible ones are 416."""
    path = f"/v1/calls/{call_id}/recording"
    whole = (await desk.get(path)).content
    size = len(whole)
    for asked, (start, end) in {
        "bytes=0-": (0, size),
        "bytes=0-43": (0, 44),
        "bytes=40-4050": (40, 4051),
        "bytes=4043-4044": (4043, 4045),
        f"bytes={size - 1}-": (size - 1, size),
        "bytes=-100": (size - 100, size),
        "bytes=-999999": (0, size),
        f"bytes=12000-{size + 5}": (12000, size),
    }.items():
        answer = await desk.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, whole[start:end]), asked
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=-0"):
        answer = await desk.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    for asked in ("bytes=5-2", "bytes=0-1,5-6", "pages=1-2", "bytes=-"):
        assert (await desk.get(path, headers={"Range": asked})).status_code == 200
    etag = (await desk.get(path)).headers["etag"]
    same = await desk.get(path, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await desk.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


async def test_a_link_opens_the_recording_without_a_key(desk: Any, recorded: bytes, call_id: CallId) -> None:
    """Whoever has the link hears the whole or a range, until it expires, and is in the audit log; a changed one opens
    nothing."""
    path = f"/v1/calls/{call_id}/recording/link"
    made = (await desk.http.post(path, params={"lifetime_s": 60}, headers=desk.bearer)).json()
    opened = made["url"].removeprefix(desk.plane.config.public_url)
    assert opened.startswith("/recordings/")
    assert datetime.fromisoformat(made["expires_at"]) <= datetime.now(UTC) + timedelta(seconds=60)
    whole = await desk.http.get(opened)
    assert (whole.status_code, whole.content[44:]) == (200, recorded)
    part = await desk.http.get(opened, headers={"Range": "bytes=44-47"})
    assert (part.status_code, part.content) == (206, recorded[:4])
    for wrong in (opened[:-4] + "AAAA", opened[:-1], "/recordings/x", "/recordings/" + "\u00e9"):
        assert (await desk.http.get(wrong)).status_code == 403, wrong
    project, opens = ids.parsed(ids.PROJECT, desk.project_id), ids.parsed(ids.CALL, call_id)
    pepper, before_s = desk.plane.config.key_pepper, datetime.now(UTC).timestamp() - 1
    expired = links.mint(pepper, links.RECORDING, project, opens, before_s)
    assert (await desk.http.get(f"/recordings/{expired}")).status_code == 403
    stranger = await desk.another_project()
    assert (await desk.http.post(path, headers=stranger)).status_code == 404
    heard = await desk.http.get("/v1/audit", params={"actor": "link"}, headers=await desk.admin())
    assert [(entry["operation"], entry["object_id"], entry["effect"]) for entry in heard.json()["items"]] == [
        ("open_recording_link", call_id, "done")
    ] * 2, "who listens by a link is in the log as well, and who is refused is not"


async def test_without_a_recording_there_is_none(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A call that was not recorded, and one whose parts were deleted, are 404."""
    await in_talk(desk, worker, sid)
    assert (await desk.get(f"/v1/calls/{call_id}/recording")).status_code == 404
    part = RecordingPart(key="recordings/gone.wav", size_bytes=444, duration_ms=12)
    ready = worker.fact(RecordingReady, worker.offers[-1].plan, rate_hz=8000, duration_ms=12, parts=(part,))
    await worker.publish(ready)
    await desk.becomes(call_id, event_count=6)
    assert (await desk.get(f"/v1/calls/{call_id}/recording")).status_code == 404


class Follower:
    """A reader of the live feed."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def event(self) -> dict[str, str] | None:
        """The next event; None at the end of the feed."""
        event: dict[str, str] = {}
        async with asyncio.timeout(8):
            async for line in self._lines:
                if not line and "data" in event:
                    return event
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
        return None

    async def rest(self) -> list[dict[str, str]]:
        """Everything up to the end of the feed."""
        events = []
        while (event := await self.event()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def following(desk: Any, call_id: CallId, *, internal: bool = True, **headers: str) -> AsyncIterator[Follower]:
    """Reads the call's feed."""
    path = f"/v1/calls/{call_id}/events/stream"
    request = desk.http.stream(
        "GET", path, params={"internal": internal}, headers={**desk.bearer, **headers}, timeout=10
    )
    async with request as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Follower(answer.aiter_lines())


async def test_the_feed_tells_all_from_the_first_fact_to_the_last(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """Stored facts first, then new ones, passing talk in between, no gap, no repeat, and an end after call.ended."""
    plan = await in_talk(desk, worker, sid)
    async with following(desk, call_id) as feed:
        first = [await feed.event() for _ in range(5)]
        assert [event["id"] for event in first if event] == ["1", "2", "3", "4", "5"]
        partial = TranscriptPartial(call_id=call_id, epoch=1, turn=1, speaker="caller", text="What ti")
        await desk.bus.tell(subjects.live(desk.project_id, call_id), encode(partial))
        heard = await feed.event()
        assert heard is not None
        assert heard["event"] == "transcript.partial"
        assert "id" not in heard
        await worker.publish(*[utterance(worker, plan, "caller", f"{n}", n, n) for n in range(30)])
        await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
        await desk.says(sid, "completed", CallDuration="1")
        events = await feed.rest()
    assert [event["id"] for event in events] == [str(n) for n in range(6, 6 + len(events))]
    assert events[-1]["event"] == "call.ended"
    assert msgspec.json.decode(events[-1]["data"])["data"]["reason"] == "customer_ended_call"


async def test_a_feed_ends_with_its_key_and_with_its_call(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Who was let in an hour ago hears nothing more once the key is revoked, also while the call is talked on; nor does
    a follower whose call is erased."""
    plan = await in_talk(desk, worker, sid)
    key = {"name": "listener", "role": "viewer"}
    made = (await desk.http.post("/v1/keys", headers=desk.bearer, json=key)).json()
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    async with following(desk, call_id, **bearer) as listener, following(desk, call_id) as owner:
        assert (await desk.http.delete(f"/v1/keys/{made['key']['id']}", headers=desk.bearer)).status_code == 200

        async def talk() -> None:
            for number in count():
                await worker.publish(utterance(worker, plan, "caller", f"{number}", number, number))
                await asyncio.sleep(0.2)

        talking = asyncio.create_task(talk())
        try:
            async with asyncio.timeout(60):
                await listener.rest()
        finally:
            talking.cancel()
        heard = await owner.event()
        assert heard is not None
        await desk.execute("delete from call_events where call_id = %s", call_id.removeprefix("call_"))
        await desk.execute("delete from epochs where call_id = %s", call_id.removeprefix("call_"))
        await desk.execute("delete from calls where id = %s", call_id.removeprefix("call_"))
        await owner.rest()


async def test_a_follower_that_comes_back_misses_nothing(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Last-Event-ID continues behind that fact; behind the last one the feed is over at once."""
    plan = await in_talk(desk, worker, sid)
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="1")
    await desk.comes(call_id, "call.ended")
    async with following(desk, call_id, **{"Last-Event-ID": "6"}) as feed:
        assert [event["id"] for event in await feed.rest()] == ["7", "8"]
    async with following(desk, call_id, **{"Last-Event-ID": "8"}) as feed:
        assert await feed.rest() == []
    async with following(desk, call_id, internal=False) as feed:
        assert [event["event"] for event in await feed.rest()] == [
            "call.initializing",
            "call.ringing",
            "call.answered",
            "call.started",
            "call.ended",
        ]
    wrong = await desk.get(f"/v1/calls/{call_id}/events/stream", headers={"Last-Event-ID": "x"})
    assert wrong.status_code == 422


async def test_news_that_were_lost_are_read_from_the_table(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A follower that was told of a later fact first, or of none at all, still gets every fact in order."""
    plan = await in_talk(desk, worker, sid)
    async with following(desk, call_id, **{"Last-Event-ID": "5"}) as feed:
        await asyncio.sleep(0.3)
        subject = subjects.live(desk.project_id, call_id)
        await desk.bus.tell(subject, b'{"type":"transcript.final","call_seq":9}')
        await desk.bus.tell(subject, b'{"type":"transcript.final","call_seq":3}')
        await worker.publish(*[utterance(worker, plan, "caller", f"{n}", n, n) for n in range(3)])
        events = [await feed.event() for _ in range(3)]
    assert [event["id"] for event in events if event] == ["6", "7", "8"]
    assert all(event and "text" in event["data"] for event in events)


async def test_a_range_of_time_needs_a_zone(desk: Any) -> None:
    """A moment without a time zone is no moment."""
    naive = (datetime.now(UTC) - timedelta(days=1)).replace(tzinfo=None).isoformat()
    assert (await desk.get("/v1/calls", params={"created_from": naive})).status_code == 422
