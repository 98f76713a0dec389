"""One session over phone, SMS and chat: what was said anywhere is known everywhere."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio

from turncall_phone import Account, Carrier
from turncall_proto import ids, subjects
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.codec import decode, decode_command, encode
from turncall_proto.command import ActReply, CommandReply, Inject, LinkAsked
from turncall_proto.events import CommandDone, TranscriptFinal
from turncall_proto.template import rendered
from turncall_testkit.pen import Pen, writing

NUMBER = "+15550100009"
ACCOUNT = Account(sid="AC" + "a" * 32, auth_token="turncall-test-token", numbers=(NUMBER,))
PATIENCE_S = 30


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(open_desk: Any, open_worker: Any) -> AsyncIterator[tuple[Any, Carrier, Pen, Any]]:
    """A control plane whose number is bound at the emulated carrier, a text pool that echoes, and a worker."""
    async with AsyncExitStack() as running:
        carrier = await running.enter_async_context(Carrier([ACCOUNT]))
        desk = await running.enter_async_context(open_desk(None, is_reachable=True, twilio_base_url=carrier.base_url))
        worker = await running.enter_async_context(open_worker(desk))
        pen = await running.enter_async_context(writing(desk.bus))
        routing = {"kind": "agent", "agent_id": desk.agent_id}
        bound = await desk.http.post("/v1/numbers", json={"number": NUMBER, "routing": routing}, headers=desk.bearer)
        assert bound.status_code == 201, bound.text
        yield desk, carrier, pen, worker


@pytest.fixture
def contact() -> str:
    """Somebody who has never called or written before."""
    return f"+1555{uuid4().int % 10**7:07}"


async def calls(desk: Any, worker: Any, contact: str, *said: tuple[str, str]) -> CallStart:
    """The contact calls, and this is said; the call goes on."""
    sid = f"CA{uuid4().hex}"
    await desk.twilio_asks("/webhooks/twilio/voice/inbound", desk.form(sid, From=contact, To=NUMBER))
    plan: CallStart = next(offer.plan for offer in reversed(worker.offers) if offer.plan.provider_call_id == sid)
    await worker.opens(plan)
    for turn, (speaker, text) in enumerate(said):
        times = {"start_ms": turn * 1000, "end_ms": turn * 1000 + 500}
        await worker.publish(worker.fact(TranscriptFinal, plan, turn=turn, speaker=speaker, text=text, **times))
    if said:
        await desk.comes(plan.call_id, "transcript.final", timeout_s=PATIENCE_S)
    return plan


async def hangs_up(desk: Any, worker: Any, plan: CallStart) -> None:
    """The caller does, and everybody says so."""
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    form = desk.form(plan.provider_call_id, From=plan.from_number, To=NUMBER, CallStatus="completed", CallDuration="3")
    await desk.twilio_asks("/webhooks/twilio/voice/status", form)
    await desk.comes(plan.call_id, "call.ended", timeout_s=PATIENCE_S)


async def session_of(desk: Any, contact: str) -> dict[str, Any]:
    """The contact's only session, with its messages."""
    (found,) = (await desk.get("/v1/sessions", params={"contact": contact})).json()["items"]
    shown = await desk.get(f"/v1/sessions/{found['id']}/messages", params={"limit": 200})
    return {**found, "messages": shown.json()["items"]}


async def test_begun_by_phone_continued_by_sms_finished_in_chat(house: Any, contact: str) -> None:
    """One session with one memory: who writes after a call is known from it, who calls again is known from both, and
    the chat has all of it; while the contact speaks, the agent that writes knows what is being said."""
    desk, carrier, pen, worker = house
    first = await calls(desk, worker, contact, ("agent", "Hello."), ("caller", "My name is Ada."))
    assert first.memory == ""
    await hangs_up(desk, worker, first)
    carrier.texts.write(to=NUMBER, from_=contact, body="What is my name?")
    await carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)
    turn = pen.turns[-1]
    assert [(wrote.author, wrote.text) for wrote in turn.wrote] == [
        ("agent", "Hello."),
        ("contact", "My name is Ada."),
        ("contact", "What is my name?"),
    ]
    second = await calls(desk, worker, contact, ("caller", "I have a dog."))
    assert "contact: My name is Ada." in second.memory
    assert second.memory.endswith("contact: What is my name?\nyou: Echo: What is my name?")
    assert rendered(second).agent.prompt.endswith(second.memory)
    resumed = await desk.http.post(
        "/v1/sessions", json={"agent_id": desk.agent_id, "contact": contact, "resume": True}, headers=desk.bearer
    )
    asked = await desk.http.post(
        f"/v1/sessions/{resumed.json()['id']}/messages", json={"text": "And my dog?"}, headers=desk.bearer, timeout=30
    )
    assert asked.json()["reply"]["channel"] == "chat"
    assert pen.turns[-1].plan.memory.endswith("contact: I have a dog.")
    await hangs_up(desk, worker, second)
    session = await session_of(desk, contact)
    assert [(m["author"], m["channel"], m["call_id"]) for m in session["messages"]] == [
        ("agent", "phone", first.call_id),
        ("contact", "phone", first.call_id),
        ("contact", "sms", None),
        ("agent", "sms", None),
        ("contact", "chat", None),
        ("agent", "chat", None),
        ("contact", "phone", second.call_id),
    ]
    assert [m["seq"] for m in session["messages"]] == list(range(1, 8))
    assert len(carrier.texts.inbox(contact)) == 1, "what is asked in the chat is answered there"
    deleted = await desk.http.delete(f"/v1/sessions/{session['id']}", headers=desk.bearer)
    assert deleted.status_code == 204, deleted.text


@asynccontextmanager
async def told(desk: Any, plan: CallStart, *replies: CommandReply) -> AsyncIterator[list[Inject]]:
    """A worker that holds the call and answers its commands so, one after another; what it was told."""
    heard: list[Inject] = []

    async def obey(data: bytes) -> bytes:
        command = decode_command(data)
        assert isinstance(command, Inject)
        heard.append(command)
        return encode(replies[len(heard) - 1])

    serving = await desk.bus.serve(subjects.command(plan.call_id), obey)
    try:
        yield heard
    finally:
        await serving.close()


async def _wrote(desk: Any, contact: str, text: str) -> bool:
    """Whether the session has this message."""
    return any(message["text"] == text for message in (await session_of(desk, contact))["messages"])


async def test_what_is_written_during_a_call_is_answered_aloud(house: Any, contact: str) -> None:
    """The agent on the phone is told, in the caller's name and not as an instruction, and nothing goes back in writing;
    what the call does not take is answered in writing, and so is, afterwards, what the agent never spoke about."""
    desk, carrier, pen, worker = house
    done, refused = CommandReply(outcome="done"), CommandReply(outcome="refused", detail="the call is ending")
    plan = await calls(desk, worker, contact, ("caller", "I will write you the day."))
    await desk.becomes(plan.call_id, status="in_progress")
    turns = len(pen.turns)

    async def write(text: str) -> dict[str, Any]:
        carrier.texts.write(to=NUMBER, from_=contact, body=text)
        shown: list[dict[str, Any]] = []

        async def is_settled() -> bool:
            found = (await desk.get("/v1/sessions", params={"contact": contact})).json()["items"]
            shown[:] = (await session_of(desk, contact))["messages"] if found else []
            mine = [message for message in shown if message["text"] == text]
            return bool(mine) and (mine[0]["told_on"] is not None or shown[-1]["author"] == "agent")

        await desk.comes_true(is_settled, timeout_s=PATIENCE_S)
        return next(message for message in shown if message["text"] == text)

    async with told(desk, plan, done, refused, done) as heard:
        first = await write("On Tuesday.")
        assert (first["told_on"], first["channel"], first["call_id"]) == (plan.call_id, "sms", None)
        (injected,) = heard
        assert injected.text == "(SMS from the caller, during this call:) On Tuesday."
        assert (injected.role, injected.is_answered, injected.command_id) == ("user", True, first["id"])
        assert carrier.texts.inbox(contact) == ()
        second = await write("At ten.")
        assert second["told_on"] is None
        assert [text.body for text in await carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)] == [
            "Echo: At ten."
        ]
        third = await write("Or at eleven.")
        assert third["told_on"] == plan.call_id
        session = f"/v1/sessions/{third['session_id']}"
        taken = await desk.http.post(f"{session}/take-over", headers=desk.bearer)
        assert taken.status_code == 200, taken.text
        carrier.texts.write(to=NUMBER, from_=contact, body="To a person.")
        await desk.comes_true(lambda: _wrote(desk, contact, "To a person."), timeout_s=PATIENCE_S)
        assert len(heard) == 3, "who is in a person's hands is told to no agent, on no channel"
        released = await desk.http.post(f"{session}/release", headers=desk.bearer)
        assert released.status_code == 200, released.text
        (_, answer) = await carrier.texts.received(contact, 2, timeout_s=PATIENCE_S)
        assert answer.body == "Echo: To a person.", "the agent answers what was left when it may again"
    for message, spoken in ((first, "Tuesday it is."), (third, "")):
        await worker.publish(worker.fact(CommandDone, plan, command_id=message["id"], command="inject"))
        if spoken:
            times = {"turn": 2, "start_ms": 9000, "end_ms": 9000}
            await worker.publish(worker.fact(TranscriptFinal, plan, speaker="agent", text=spoken, **times))
    await hangs_up(desk, worker, plan)
    await carrier.texts.received(contact, 3, timeout_s=PATIENCE_S)
    assert [turn.wrote[-1].text for turn in pen.turns[turns:]] == ["At ten.", "To a person.", "Tuesday it is."]
    assert [one.text for one in pen.turns[-1].wrote] == [
        "On Tuesday.",
        "At ten.",
        "Echo: At ten.",
        "Or at eleven.",
        "To a person.",
        "Echo: To a person.",
        "I will write you the day.",
        "Tuesday it is.",
    ]
    assert len((await desk.get("/v1/sessions", params={"contact": contact})).json()["items"]) == 1


async def test_what_another_agent_or_another_person_heard_stays_with_them(house: Any, contact: str) -> None:
    """A session knows calls of its own contact with its own agent within the day before, and no others."""
    desk, carrier, _, worker = house
    strangers = await calls(desk, worker, contact[:-2] + "00", ("caller", "I am somebody else."))
    await hangs_up(desk, worker, strangers)
    old = await calls(desk, worker, contact, ("caller", "This is long ago."))
    await hangs_up(desk, worker, old)
    await desk.execute(
        "update calls set concluded_at = now() - interval '25 hours' where id = %s", ids.parsed(ids.CALL, old.call_id)
    )
    others = await calls(desk, worker, contact, ("caller", "This is for another agent."))
    await desk.execute("update calls set agent_id = null where id = %s", ids.parsed(ids.CALL, others.call_id))
    await hangs_up(desk, worker, others)
    carrier.texts.write(to=NUMBER, from_=contact, body="Do you know me?")
    await carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)
    assert [m["text"] for m in (await session_of(desk, contact))["messages"]] == [
        "Do you know me?",
        "Echo: Do you know me?",
    ]


async def test_a_link_by_sms_opens_the_session(house: Any, contact: str) -> None:
    """An agent on the phone has a link sent, once however often it is asked for; it opens the caller's session for the
    project alone, with what was said, and a person who wants no SMS gets none."""
    desk, carrier, _, worker = house
    plan = await calls(desk, worker, contact, ("caller", "Send me a link."))

    async def wants(act: str) -> ActReply:
        asked = LinkAsked(
            act_id=f"{plan.call_id}.{act}",
            call_id=plan.call_id,
            project_id=plan.project_id,
            url="https://example.com/chat?lang=en",
            text="Go on here:",
            deadline=datetime.now(UTC) + timedelta(seconds=20),
        )
        return decode(await desk.bus.ask(subjects.act("link"), encode(asked), timeout_s=20), ActReply)

    assert (await wants("first")).is_taken
    assert (await wants("first")).is_taken
    (arrived,) = await carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)
    words, _, link = arrived.body.rpartition(" ")
    assert (words, parse_qs(urlsplit(link).query)["lang"]) == ("Go on here:", ["en"])
    await hangs_up(desk, worker, plan)
    (carried,) = parse_qs(urlsplit(link).query)["session"]
    opened = await desk.http.post("/v1/sessions/open", json={"session": carried}, headers=desk.bearer)
    session = await session_of(desk, contact)
    assert (opened.status_code, opened.json()["id"]) == (200, session["id"])
    assert [m["text"] for m in session["messages"]] == [arrived.body, "Send me a link."]
    for headers, given in ((await desk.another_project(), carried), (desk.bearer, carried[:-2] + "AA")):
        refused = await desk.http.post("/v1/sessions/open", json={"session": given}, headers=headers)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "session")
    carrier.texts.write(to=NUMBER, from_=contact, body="STOP")
    await desk.comes_true(lambda: desk.rows("select 1 from opt_outs where contact = %s", contact), timeout_s=PATIENCE_S)
    refusal = await wants("second")
    assert (refusal.is_taken, refusal.detail) == (False, "the contact wants no SMS from this number")
