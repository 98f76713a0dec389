"""Conversations in writing: each message answered once and in order, streamed, taken over, ended, told of."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from turncall_control.chat import erasing
from turncall_control.erasure import retention
from turncall_control.webhooks.occurrences import SESSION_OCCURRENCES
from turncall_proto import ids, subjects
from turncall_proto.codec import encode
from turncall_proto.job import JobFailed, TextTurnJob, ToolUsed
from turncall_proto.live import TextDelta
from turncall_testkit.pen import Pen, writing


@pytest.fixture
async def pen(desk: Any) -> AsyncIterator[Pen]:
    async with writing(desk.bus) as pen:
        yield pen


async def begun(desk: Any, **more: Any) -> str:
    """A new session's id."""
    body = {"agent_id": desk.agent_id, "contact": "visitor-17", **more}
    made = await desk.http.post("/v1/sessions", json=body, headers=desk.bearer)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def says(desk: Any, session_id: str, text: str, **more: Any) -> Any:
    answer = await desk.http.post(
        f"/v1/sessions/{session_id}/messages", json={"text": text, **more}, headers=desk.bearer, timeout=20
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def words(desk: Any, session_id: str) -> list[tuple[str, str]]:
    shown = (await desk.get(f"/v1/sessions/{session_id}/messages")).json()["items"]
    assert [message["seq"] for message in shown] == list(range(1, len(shown) + 1))
    return [(message["author"], message["text"]) for message in shown]


async def test_a_message_is_answered(desk: Any, pen: Pen) -> None:
    """The session begins with the agent's first message; the turn knows all that was written, and who writes."""
    session_id = await begun(desk, variables={"name": "Ada"}, metadata={"page": "home"})
    told = await says(desk, session_id, "When do you open?")
    assert told["reply"]["text"] == "Echo: When do you open?"
    assert told["reply"]["used"][0]["vendor"] == "echo"
    assert await words(desk, session_id) == [
        ("agent", "Hello."),
        ("contact", "When do you open?"),
        ("agent", "Echo: When do you open?"),
    ]
    (turn,) = pen.turns
    assert turn.session_id == session_id
    assert (turn.plan.from_number, turn.plan.variables, turn.plan.channel) == ("visitor-17", {"name": "Ada"}, "chat")
    assert turn.plan.secrets.keys() == {"deepgram"}
    found = (await desk.get("/v1/sessions", params={"state": "active", "contact": "visitor-17"})).json()["items"]
    assert session_id in {one["id"] for one in found}


async def test_messages_that_come_meanwhile_are_answered_next_and_together(desk: Any, pen: Pen) -> None:
    """A session has one turn at a time; what was written during it is one turn more, also when answers come twice."""
    pen.answer = None
    session_id = await begun(desk)
    asking = [asyncio.create_task(says(desk, session_id, "One"))]
    await desk.comes_true(lambda: len(pen.turns) == 1)
    asking += [asyncio.create_task(says(desk, session_id, text)) for text in ("Two", "Three")]
    await desk.comes_true(lambda: _count(desk, session_id, 4))
    assert len(pen.turns) == 1
    first = pen.done(pen.turns[0], "To one.")
    await pen.give(first)
    await pen.give(first, suffix=".again")
    await desk.comes_true(lambda: len(pen.turns) == 2)
    assert [wrote.text for wrote in pen.turns[1].wrote][-3:] in (
        ["Two", "Three", "To one."],
        ["Three", "Two", "To one."],
    )
    await pen.give(pen.done(pen.turns[1], "To two and three."))
    answers = await asyncio.gather(*asking)
    assert [answer["reply"]["text"] for answer in answers] == ["To one.", *["To two and three."] * 2]
    assert [text for author, text in await words(desk, session_id) if author == "agent"] == [
        "Hello.",
        "To one.",
        "To two and three.",
    ]


async def _count(desk: Any, session_id: str, wanted: int) -> bool:
    return bool((await desk.get(f"/v1/sessions/{session_id}")).json()["message_count"] == wanted)


async def test_the_answer_streams(desk: Any, pen: Pen) -> None:
    """Its words come while they are written, then the message as it was stored."""

    async def slowly(turn: TextTurnJob) -> None:
        for piece in ("We open ", "at seven."):
            delta = TextDelta(session_id=turn.session_id, through=turn.wrote[-1].seq, text=piece)
            await desk.bus.tell(subjects.live(turn.project_id, turn.session_id), encode(delta))
            await asyncio.sleep(0.05)
        await pen.give(pen.done(turn, "We open at seven."))

    pen.answer = None
    session_id = await begun(desk)
    events: list[tuple[str, Any]] = []
    async with desk.http.stream(
        "POST", f"/v1/sessions/{session_id}/messages/stream", json={"text": "When?"}, headers=desk.bearer, timeout=20
    ) as stream:
        telling = asyncio.create_task(_when(desk, lambda: pen.turns and slowly(pen.turns[0])))
        name = ""
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
        await telling
    assert "".join(data["text"] for kind, data in events if kind == "message.delta") == "We open at seven."
    assert events[-1][0] == "message"
    assert events[-1][1]["text"] == "We open at seven."


async def _when(desk: Any, begins: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not (work := begins()):  # noqa: ASYNC110 - what is awaited is a fact of another task
            await asyncio.sleep(0.02)
        await work


async def test_a_person_takes_over_and_gives_back(desk: Any, pen: Pen) -> None:
    """While a person writes the agent is silent, its answer under way is dropped, and it answers what is open after."""
    pen.answer = None
    session_id = await begun(desk)
    asking = asyncio.create_task(says(desk, session_id, "Is anybody there?"))
    await desk.comes_true(lambda: len(pen.turns) == 1)
    operator = await says(desk, session_id, "This is Kim.", author="operator")
    assert operator["session"]["is_taken_over"] is True
    await pen.give(pen.done(pen.turns[0], "I am the agent."))
    assert (await asking)["reply"] is None
    await says(desk, session_id, "Thank you, Kim.")
    assert len(pen.turns) == 1
    pen.answer = lambda turn: pen.done(turn, "I am back.")
    released = await desk.http.post(f"/v1/sessions/{session_id}/release", headers=desk.bearer)
    assert released.json()["is_taken_over"] is False
    await desk.comes_true(lambda: _count(desk, session_id, 5))
    assert (await words(desk, session_id))[1:] == [
        ("contact", "Is anybody there?"),
        ("operator", "This is Kim."),
        ("contact", "Thank you, Kim."),
        ("agent", "I am back."),
    ]


async def test_tools_memory_and_the_end_are_kept(desk: Any, pen: Pen) -> None:
    """What the agent used is shown, what was summarised is not sent again, and an ended session takes no more."""
    tool = ToolUsed(tool_call_id="t", tool="book", arguments={"day": "tue"}, is_ok=True, output={"id": 1}, latency_ms=3)
    pen.answer = lambda turn: pen.done(turn, "Noted.", tools=(tool,), summary="Ada wants bread.", summarised_through=1)
    session_id = await begun(desk)
    told = await says(desk, session_id, "Bread, please.")
    assert told["reply"]["tools"][0]["output"] == {"id": 1}
    pen.answer = lambda turn: pen.done(turn, "Goodbye.", is_ended=True)
    await says(desk, session_id, "That is all.")
    assert pen.turns[-1].summary == "Ada wants bread."
    assert pen.turns[-1].wrote[0].seq == 2
    over = await desk.http.post(f"/v1/sessions/{session_id}/messages", json={"text": "One more"}, headers=desk.bearer)
    assert (over.status_code, over.json()["type"]) == (409, "urn:turncall:problem:session-over")


async def test_a_turn_that_fails_says_so_and_the_next_message_is_answered(desk: Any, pen: Pen) -> None:
    """The message shows why nobody answered it."""
    pen.answer = lambda turn: JobFailed(
        job_id=turn.job_id, project_id=turn.project_id, at=datetime.now(UTC), detail="No model answers"
    )
    session_id = await begun(desk)
    told = await says(desk, session_id, "Hello?")
    assert (told["reply"], told["message"]["failure"]) == (None, "No model answers")
    pen.answer = lambda turn: pen.done(turn, "Sorry, here I am.")
    assert (await says(desk, session_id, "Hello??"))["reply"]["text"] == "Sorry, here I am."


async def test_a_session_expires_and_subscribers_hear_of_everything(desk: Any, pen: Pen) -> None:
    """Begun, written, answered, forgotten: each is an event with what the API shows."""
    made = await desk.http.post(
        "/v1/webhooks", json={"url": "http://127.0.0.1:9999/hooks", "event_types": []}, headers=desk.bearer
    )
    assert made.status_code == 201, made.text
    session_id = await begun(desk)
    await says(desk, session_id, "Hello")
    await desk.execute(
        "update sessions set expires_at = now() - interval '1 s' where id = %s", ids.parsed(ids.SESSION, session_id)
    )
    await desk.comes_true(lambda: _is(desk, session_id, "expired"), timeout_s=20)
    told = await desk.rows(
        "select type, coalesce(data->>'session_id', data->>'id') from webhook_deliveries where webhook_id = %s"
        " and call_id is null order by id",
        ids.parsed(ids.WEBHOOK, made.json()["webhook"]["id"]),
    )
    await desk.http.delete(f"/v1/webhooks/{made.json()['webhook']['id']}", headers=desk.bearer)
    heard = [kind for kind, of in told if of == session_id]
    assert heard == ["session.created", "message.sent", "message.received", "message.sent", "session.expired"]
    assert set(heard) == {tag for tag, found in SESSION_OCCURRENCES.items() if "chat" in found.channels}


async def _is(desk: Any, session_id: str, state: str) -> bool:
    return bool((await desk.get(f"/v1/sessions/{session_id}")).json()["state"] == state)


async def test_what_cannot_begin_is_refused(desk: Any) -> None:
    """An agent of nobody, and a message of nothing, by the name of the field."""
    for agent_id in (ids.mint(ids.AGENT), ids.mint(ids.AGENT) + "\n", ids.mint(ids.CALL), ""):
        body = {"agent_id": agent_id, "contact": "x"}
        unknown = await desk.http.post("/v1/sessions", json=body, headers=desk.bearer)
        assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "agent_id")
    session_id = await begun(desk)
    empty = await desk.http.post(f"/v1/sessions/{session_id}/messages", json={"text": ""}, headers=desk.bearer)
    assert empty.status_code == 422


async def test_sessions_are_found_by_what_people_search_for(desk: Any, pen: Pen) -> None:
    """Each filter narrows the list to what it names; what is no such value is refused by name."""
    before = datetime.now(UTC).isoformat()
    mine = await begun(desk, contact="found-1", metadata={"order": "17", "shop": "a:b"})
    other = await begun(desk, contact="found-2", metadata={"order": "18"})
    await desk.execute(
        "update sessions set channel = 'sms', number_id = %s, variant = 'calm' where id = %s",
        ids.parsed(ids.NUMBER, desk.number_id),
        ids.parsed(ids.SESSION, mine),
    )

    async def found(**wanted: Any) -> list[str]:
        answer = await desk.get("/v1/sessions", params={"created_from": before, **wanted})
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    assert await found() == [other, mine]
    for wanted in (
        {"channel": "sms"},
        {"number_id": desk.number_id},
        {"variant": "calm"},
        {"contact": "found-1"},
        {"metadata": ["order:17", "shop:a:b"]},
    ):
        assert await found(**wanted) == [mine], wanted
    assert await found(agent_id=desk.agent_id, version_id=desk.version_id, state="active") == [other, mine]
    assert await found(created_until=before) == []
    assert await found(version_id="ver_" + "0" * 32) == []
    for name, value in (("channel", "fax"), ("version_id", "7"), ("metadata", "order"), ("created_from", "yesterday")):
        refused = await desk.get("/v1/sessions", params={name: value})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, name)


@pytest.mark.proves("settings.retention.sessions_days")
async def test_conversations_go_when_their_time_has_come(desk: Any, pen: Pen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old ones that are over are erased with all that is known of them, batch by batch; younger and active ones stay,
    and all do while the project sets no limit."""
    monkeypatch.setattr(erasing, "AT_ONCE", 1)
    old, older, young, living = [await begun(desk, contact=f"kept-{n}") for n in range(4)]
    await says(desk, old, "My secret is a plum.")
    for session_id, days in ((old, 8), (older, 30), (young, 6)):
        await desk.http.post(f"/v1/sessions/{session_id}/end", headers=desk.bearer)
        await desk.execute(
            "update sessions set ended_at = now() - make_interval(days => %s) where id = %s",
            days,
            ids.parsed(ids.SESSION, session_id),
        )

    async def left() -> list[str]:
        await asyncio.gather(*(retention.sweep(desk.plane.database.pool, desk.plane.blobs) for _ in range(2)))
        known = [await desk.get(f"/v1/sessions/{one}") for one in (old, older, young, living)]
        return [answer.json()["id"] for answer in known if answer.status_code == 200]

    assert await left() == [old, older, young, living]
    path = f"/v1/projects/{desk.project_id}"
    limits = {"settings": {"retention": {"sessions_days": 7}}}
    assert (await desk.http.patch(path, json=limits, headers=await desk.admin())).status_code == 200
    await desk.comes_true(lambda: _are(left, [young, living]))
    for table in ("messages", "jobs"):
        assert await desk.rows(f"select 1 from {table} where session_id = %s", ids.parsed(ids.SESSION, old)) == []
    await desk.http.patch(path, json={"settings": {"retention": {"sessions_days": None}}}, headers=await desk.admin())


async def _are(found: Callable[[], Awaitable[list[str]]], wanted: list[str]) -> bool:
    return await found() == wanted


async def test_a_person_is_forgotten_in_writing_too(desk: Any, pen: Pen) -> None:
    """Deleting a session, or all of a number, leaves no message, no turn and no delivery that quotes them."""
    made = await desk.http.post("/v1/webhooks", json={"url": "http://127.0.0.1:9999/hooks"}, headers=desk.bearer)
    one, other = await begun(desk), await begun(desk, contact="+15550001234")
    for session_id in (one, other):
        await says(desk, session_id, "My secret is a pear.")
    gone = await desk.http.delete(f"/v1/sessions/{one}", headers=desk.bearer)
    assert gone.status_code == 204
    erased = await desk.http.post("/v1/calls/delete-by-number", json={"number": "+15550001234"}, headers=desk.bearer)
    assert erased.json()["sessions"] == 1
    assert (await desk.get(f"/v1/sessions/{one}")).status_code == 404
    for table, column in (("messages", "session_id"), ("jobs", "session_id"), ("sessions", "id")):
        for session_id in (one, other):
            found = await desk.rows(f"select 1 from {table} where {column} = %s", ids.parsed(ids.SESSION, session_id))
            assert found == [], table
    quoted = await desk.rows("select data::text from webhook_deliveries where data::text like '%%pear%%'")
    assert quoted == []
    await desk.http.delete(f"/v1/webhooks/{made.json()['webhook']['id']}", headers=desk.bearer)
