"""Messages of phones over an emulated carrier: answered once and in order, whatever the carrier repeats or loses."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import web

from turncall_control.webhooks.occurrences import SESSION_OCCURRENCES
from turncall_phone import Account, Carrier
from turncall_phone.faults import CallbackFault, RestFault
from turncall_phone.journal import RestAnswered
from turncall_phone.texting import Receives, TextRefused, Undeliverable
from turncall_phone.texts import STOPPED
from turncall_proto import ids
from turncall_testkit.pen import Pen, writing
from turncall_testkit.vendors.serving import Stalls, serving

NUMBER, SECOND = "+15550100009", "+15550100010"
ACCOUNT = Account(sid="AC" + "a" * 32, auth_token="turncall-test-token", numbers=(NUMBER, SECOND))
SENDS = "/Messages.json"
PATIENCE_S = 60

House = tuple[Any, Carrier, Pen]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(open_desk: Any) -> AsyncIterator[House]:
    """A control plane whose two numbers are bound at the emulated carrier, and a text pool that echoes."""
    async with AsyncExitStack() as running:
        carrier = await running.enter_async_context(Carrier([ACCOUNT]))
        desk = await running.enter_async_context(open_desk(None, is_reachable=True, twilio_base_url=carrier.base_url))
        pen = await running.enter_async_context(writing(desk.bus))
        routing = {"kind": "agent", "agent_id": desk.agent_id}
        for number in ACCOUNT.numbers:
            bound = await desk.http.post(
                "/v1/numbers", json={"number": number, "routing": routing}, headers=desk.bearer
            )
            assert bound.status_code == 201, bound.text
        yield desk, carrier, pen


@pytest.fixture
def contact() -> str:
    """Somebody who has never written before."""
    return f"+1555{uuid4().int % 10**7:07}"


async def sessions_of(desk: Any, contact: str) -> list[dict[str, Any]]:
    """The contact's sessions, each with its messages."""
    found = (await desk.get("/v1/sessions", params={"contact": contact})).json()["items"]
    shown = [await desk.get(f"/v1/sessions/{one['id']}/messages", params={"limit": 200}) for one in found]
    return [{**one, "messages": page.json()["items"]} for one, page in zip(found, shown, strict=True)]


async def session_of(desk: Any, contact: str) -> dict[str, Any]:
    """The contact's only session, with its messages."""
    (found,) = await sessions_of(desk, contact)
    return found


async def _wrote(desk: Any, contact: str, text: str) -> bool:
    """Whether this message of the contact's is stored."""
    return any(m["text"] == text for one in await sessions_of(desk, contact) for m in one["messages"])


async def last_is(desk: Any, contact: str, delivery: str) -> dict[str, Any]:
    """The contact's last message, once it has come so far."""
    message: dict[str, Any] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            while message.get("delivery") != delivery:
                await asyncio.sleep(0.05)
                message = (await session_of(desk, contact))["messages"][-1]
    except TimeoutError:
        raise AssertionError(f"it did not become {delivery}: {message}") from None
    return message


async def test_two_hundred_messages_are_each_answered_once_and_in_order(house: House) -> None:
    """Of 200 messages the carrier brings 100 twice and 60 late, and half of what it says about answers twice or late:
    who waits for answers gets one each, who does not gets all of theirs answered together, and nobody gets two."""
    desk, carrier, _ = house
    for effect, event, times in (("duplicate", "received", 100), ("delay", "received", 60)):
        carrier.faults.add(CallbackFault(event=event, effect=effect, times=times, delay_s=0.3))  # type: ignore[arg-type]
    for effect, event in (("duplicate", "sent"), ("hold", "sending"), ("delay", "delivered")):
        carrier.faults.add(CallbackFault(event=event, effect=effect, times=30, delay_s=0.3))  # type: ignore[arg-type]
    patient = [f"+1555020{line:04}" for line in range(5)]
    hasty = [f"+1555021{line:04}" for line in range(20)]

    async def converse(person: str) -> None:
        for turn in range(4):
            carrier.texts.write(to=NUMBER, from_=person, body=f"message {turn}")
            await carrier.texts.received(person, turn + 1, timeout_s=PATIENCE_S)

    async def burst(person: str) -> None:
        for turn in range(9):
            carrier.texts.write(to=NUMBER, from_=person, body=f"message {turn}")

    await asyncio.gather(*map(converse, patient), *map(burst, hasty))
    try:
        await desk.comes_true(lambda: _all_delivered(desk, carrier, [*patient, *hasty]), timeout_s=2 * PATIENCE_S)
    finally:
        carrier.faults.clear()
    for person in patient:
        assert [text.body for text in carrier.texts.inbox(person)] == [f"Echo: message {turn}" for turn in range(4)]
    for person in hasty:
        messages = (await session_of(desk, person))["messages"]
        written = [message for message in messages if message["author"] == "contact"]
        answers = [message for message in messages if message["author"] == "agent"]
        assert Counter(message["text"] for message in written) == Counter(f"message {turn}" for turn in range(9))
        assert answers[-1]["answers"] >= written[-1]["seq"]
        assert len({message["answers"] for message in answers}) == len(answers)
        assert [text.body for text in carrier.texts.inbox(person)] == [message["text"] for message in answers]


async def _all_delivered(desk: Any, carrier: Carrier, people: list[str]) -> bool:
    unfinished = await desk.rows(
        "select 1 from sessions s where s.contact = any(%s) and (exists (select from texts t where t.session_id = s.id"
        " and t.state <> 'delivered') or exists (select from messages m where m.session_id = s.id"
        " and m.author = 'contact' and m.seq > s.answered_through))",
        people,
    )
    counted = await desk.rows(
        "select count(*) from messages m join sessions s on s.id = m.session_id"
        " where s.contact = any(%s) and m.author = 'contact'",
        people,
    )
    return not unfinished and counted == [(200,)]


async def test_opt_out_words_are_honoured(house: House, contact: str) -> None:
    """After STOP the agent and the API are silent, YES is an answer before it and opts in after it, HELP is the
    carrier's; an opt-out that only the carrier knew of is learnt from its refusal."""
    desk, carrier, _ = house

    async def says(text: str, count: int) -> str:
        carrier.texts.write(to=NUMBER, from_=contact, body=text)
        return (await carrier.texts.received(contact, count, timeout_s=PATIENCE_S))[-1].body

    assert await says("yes", 1) == "Echo: yes"
    assert await says(" Stop ", 2) == STOPPED
    await desk.comes_true(lambda: desk.rows("select 1 from opt_outs where contact = %s", contact), timeout_s=PATIENCE_S)
    order = {"to": contact, "from": NUMBER, "text": "Are you there?"}
    refused = await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:turncall:problem:opted-out")
    other = await desk.http.post("/v1/messages", json={**order, "from": SECOND}, headers=desk.bearer)
    assert other.status_code == 201, "the wish is about one number"
    await carrier.texts.received(contact, 3, timeout_s=PATIENCE_S)
    carrier.texts.write(to=NUMBER, from_=contact, body="Still here")
    await desk.comes_true(lambda: _wrote(desk, contact, "Still here"), timeout_s=PATIENCE_S)
    await says("Yes", 4)
    await desk.comes_true(lambda: _wrote(desk, contact, "Yes"), timeout_s=PATIENCE_S)
    assert await says("Good morning", 5) == "Echo: Good morning"
    await says("help", 6)
    await desk.comes_true(lambda: _wrote(desk, contact, "help"), timeout_s=PATIENCE_S)
    session = await session_of(desk, contact)
    assert {m["text"]: m["failure"] for m in session["messages"] if m["author"] == "contact"} == {
        "yes": "",
        " Stop ": "The carrier answers this word itself",
        "Still here": "The contact wants no messages from this number",
        "Yes": "The carrier answers this word itself",
        "Good morning": "",
        "help": "The carrier answers this word itself",
    }
    carrier.texts.write(to=NUMBER, from_=contact, body="STOPALL")
    await desk.comes_true(lambda: desk.rows("select 1 from opt_outs where contact = %s", contact), timeout_s=PATIENCE_S)
    await desk.execute("delete from opt_outs where contact = %s", contact)
    sent = await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
    assert (sent.status_code, sent.json()["delivery"]) == (201, "queued")
    assert (await last_is(desk, contact, "failed"))["delivery_failure"] == "opted_out"
    assert await desk.rows("select 1 from opt_outs where contact = %s", contact)


async def test_why_a_message_did_not_arrive_is_said(house: House) -> None:
    """The carrier's code, of its refusal or of its callback, becomes a reason."""
    desk, carrier, _ = house
    reasons: dict[Undeliverable | TextRefused, str] = {
        Undeliverable(code=30003): "unreachable",
        Undeliverable(code=30006): "invalid_number",
        Undeliverable(code=30007): "blocked",
        TextRefused(code=21614): "invalid_number",
        TextRefused(code=21408): "not_allowed",
    }
    for line, phone in enumerate(reasons):
        contact = f"+1555040{line:04}"
        carrier.texts.expect(contact, phone)
        order = {"to": contact, "from": NUMBER, "text": "Your table is ready."}
        sent = await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
        assert sent.status_code == 201, sent.text
    told = [(await last_is(desk, f"+1555040{line:04}", "failed"))["delivery_failure"] for line in range(len(reasons))]
    assert told == list(reasons.values())


async def test_a_lost_answer_of_the_carrier_sends_nothing_twice(house: House, contact: str) -> None:
    """A create that took effect behind an error is found at the carrier, also when no callback says so; one that took
    none is asked for again, once, when the carrier knows of nothing a minute later."""
    desk, carrier, _ = house
    order = {"to": contact, "from": NUMBER, "text": "Your table is ready."}
    for event in ("sending", "sent", "delivered"):
        carrier.faults.add(CallbackFault(event=event, effect="drop"))
    carrier.faults.add(RestFault(path=SENDS, status_code=500, is_done=True))
    await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
    await last_is(desk, contact, "accepted")
    assert len(carrier.texts.inbox(contact)) == 1
    carrier.faults.clear()
    carrier.faults.add(RestFault(path=SENDS, status_code=503))
    await desk.http.post("/v1/messages", json={**order, "text": "Are you coming?"}, headers=desk.bearer)
    await desk.comes_true(lambda: not carrier.faults.armed(), timeout_s=PATIENCE_S)
    await desk.execute(
        "update texts set asked_at = asked_at - interval '61 s', look_at = now() where to_number = %s"
        " and state = 'asked'",
        contact,
    )
    await last_is(desk, contact, "delivered")
    assert [text.body for text in carrier.texts.inbox(contact)] == ["Your table is ready.", "Are you coming?"]


async def test_a_message_of_which_no_callback_came_is_asked_about(house: House) -> None:
    """Every callback is lost: what became of the messages is read at the carrier, and one whose phone is off for days
    is asked about five times and then left."""
    desk, carrier, _ = house
    arrives, fails, hangs = (f"+1555041{line:04}" for line in range(3))
    carrier.texts.expect(fails, Undeliverable(code=30003))
    carrier.texts.expect(hangs, Receives(after_s=86_400.0))
    for event in ("sending", "sent", "delivered", "undelivered"):
        carrier.faults.add(CallbackFault(event=event, effect="drop", times=3))  # type: ignore[arg-type]
    people = (arrives, fails, hangs)
    for contact in people:
        order = {"to": contact, "from": NUMBER, "text": "Your table is ready."}
        await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
    for contact in people:
        await last_is(desk, contact, "accepted")
    carrier.faults.clear()

    async def look(contact: str) -> None:
        await desk.execute("update texts set look_at = now() where to_number = %s and look_at is not null", contact)

    for contact in people:
        await look(contact)
    assert (await last_is(desk, arrives, "delivered"))["delivery_failure"] == ""
    assert (await last_is(desk, fails, "failed"))["delivery_failure"] == "unreachable"
    assert (await last_is(desk, hangs, "sent"))["delivery_failure"] == ""
    settled = "select look_at from texts where to_number = any(%s)"
    assert await desk.rows(settled, [arrives, fails]) == [(None,), (None,)]
    await desk.execute("update texts set looks = 4, look_at = now() where to_number = %s", hangs)
    asked = partial(desk.rows, "select 1 from texts where to_number = %s and looks = 5", hangs)
    await desk.comes_true(asked, timeout_s=PATIENCE_S)
    assert await desk.rows(settled, [hangs]) == [(None,)]


async def test_subscribers_hear_of_everything_with_its_channel(house: House, contact: str) -> None:
    """Each event of a session comes on SMS, as the table promises, and none besides; its end is among them."""
    desk, carrier, _ = house
    subscription = await desk.subscribed()
    carrier.texts.write(to=NUMBER, from_=contact, body="Hello")
    await carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)
    told = await desk.hears_of(subscription, (await session_of(desk, contact))["id"])
    promised = [tag for tag, found in SESSION_OCCURRENCES.items() if "sms" in found.channels]
    assert told == [(tag, "sms") for tag in promised]


async def test_a_long_answer_goes_in_parts(house: House, contact: str) -> None:
    """What is too long for one message arrives as several, whole and in order; the message shows all of it once."""
    desk, carrier, pen = house
    long = " ".join(f"Sentence number {number} of a long answer." for number in range(110))
    pen.answer = lambda turn: pen.done(turn, long)
    try:
        carrier.texts.write(to=NUMBER, from_=contact, body="Tell me everything")
        arrived = await carrier.texts.received(contact, 3, timeout_s=PATIENCE_S)
    finally:
        pen.answer = pen.echo
    assert " ".join(text.body for text in arrived) == long
    assert all(text.body.endswith(".") for text in arrived)
    assert (await last_is(desk, contact, "delivered"))["text"] == long


async def test_a_message_that_users_ask_for_begins_a_session(house: House, contact: str) -> None:
    """It arrives once for one key, its answer goes on in the same session, and only where the project writes to."""
    desk, carrier, pen = house
    order = {"to": contact, "from": NUMBER, "text": "Your table is ready.", "variables": {"name": "Ada"}}
    headers = {**desk.bearer, "Idempotency-Key": contact}
    for _ in range(2):
        sent = await desk.http.post("/v1/messages", json=order, headers=headers)
        assert sent.status_code == 201, sent.text
    await carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)
    carrier.texts.write(to=NUMBER, from_=contact, body="Thank you")
    arrived = await carrier.texts.received(contact, 2, timeout_s=PATIENCE_S)
    assert [text.body for text in arrived] == ["Your table is ready.", "Echo: Thank you"]
    turn = pen.turns[-1]
    assert (turn.plan.channel, turn.plan.to_number, turn.plan.variables) == ("sms", NUMBER, {"name": "Ada"})
    assert [wrote.author for wrote in turn.wrote] == ["operator", "contact"]
    session = await session_of(desk, contact)
    assert (session["channel"], len(session["messages"])) == ("sms", 3)
    takes = await desk.http.post(
        f"/v1/sessions/{session['id']}/messages",
        json={"text": "This is Kim.", "author": "operator"},
        headers=desk.bearer,
        timeout=20,
    )
    assert takes.json()["message"]["delivery"] is not None
    assert (await carrier.texts.received(contact, 3, timeout_s=PATIENCE_S))[-1].body == "This is Kim."
    for change, status in (({"from": "+15550999999"}, 422), ({"text": "   "}, 422), ({"to": "12"}, 422)):
        refused = await desk.http.post("/v1/messages", json={**order, **change}, headers=desk.bearer)
        assert refused.status_code == status, refused.text


async def test_the_numbers_routing_decides_who_answers(house: House, contact: str) -> None:
    """Weights stamp the variant, the project's server is asked once with the session's id and may define who answers,
    and a number whose SMS are off leaves them alone."""
    desk, carrier, pen = house
    asked: list[dict[str, Any]] = []

    async def who(request: web.Request) -> web.Response:
        asked.append(await request.json())
        config = {
            "pipeline": {
                "kind": "cascade",
                "stt": {"vendor": "deepgram"},
                "llm": {"vendor": "local"},
                "tts": {"vendor": "local"},
            },
            "prompt": "You are made for this one.",
        }
        return web.json_response({"config": config, "variables": {"plan": "gold"}, "knowledge_context": "Ada called."})

    app = web.Application()
    app.router.add_post("/who", who)
    listed = (await desk.get("/v1/numbers")).json()["items"]
    number = next(one for one in listed if one["e164"] == SECOND)

    async def settle(**changes: Any) -> None:
        changed = await desk.http.patch(f"/v1/numbers/{number['id']}", json=changes, headers=desk.bearer)
        assert changed.status_code == 200, changed.text

    async with serving(app, Stalls()) as address:
        await settle(routing={"kind": "webhook", "url": f"http://{address}/who"})
        for turn in range(2):
            carrier.texts.write(to=SECOND, from_=contact, body=f"message {turn}")
            await carrier.texts.received(contact, turn + 1, timeout_s=PATIENCE_S)
    session = await session_of(desk, contact)
    (question,) = asked
    assert (question["data"]["channel"], question["data"]["call_id"]) == ("sms", session["id"])
    assert (session["agent_id"], session["version_id"], session["variables"]) == (None, None, {"plan": "gold"})
    plan = pen.turns[-1].plan
    assert (plan.agent.prompt, plan.knowledge_context) == ("You are made for this one.", "Ada called.")
    await settle(channels={"sms": False})
    other = contact[:-4] + "0000"
    carrier.texts.write(to=SECOND, from_=other, body="Anybody there?")
    refused = await desk.http.post(
        "/v1/messages",
        json={"to": other, "from": SECOND, "text": "Hello", "agent_id": desk.agent_id},
        headers=desk.bearer,
    )
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:turncall:problem:channel-off")
    await settle(channels={"sms": True}, routing={"kind": "agent", "agent_id": desk.agent_id})
    carrier.texts.write(to=SECOND, from_=other, body="And now?")
    await carrier.texts.received(other, 1, timeout_s=PATIENCE_S)
    assert [m["text"] for m in (await session_of(desk, other))["messages"]] == ["And now?", "Echo: And now?"]


async def test_what_comes_with_a_message_is_not_lost(house: House, contact: str) -> None:
    """An MMS is taken with its pictures, also one without a word: they stand on the message, the agent reads of them
    and answers, and a word for the carrier stays one."""
    desk, carrier, pen = house
    url = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME"
    media = [(f"{url}1", "image/jpeg"), (f"{url}2", "application/pdf")]
    carrier.texts.write(to=NUMBER, from_=contact, body="My teeth", media=media)
    await carrier.texts.received(contact, 1, timeout_s=PATIENCE_S)
    told = "(The contact has sent an image, a document. You cannot open it: say so if it matters.)"
    assert pen.turns[-1].wrote[-1].text == f"My teeth\n{told}"
    carrier.texts.write(to=NUMBER, from_=contact, body="", media=[(f"{url}3", "")])
    await carrier.texts.received(contact, 2, timeout_s=PATIENCE_S)
    first, _, second, _ = (await session_of(desk, contact))["messages"]
    assert first["text"] == f"My teeth\n{told}"
    assert first["attachments"] == [
        {"content_type": "image/jpeg", "name": "", "is_voice": False, "reference": f"{url}1"},
        {"content_type": "application/pdf", "name": "", "is_voice": False, "reference": f"{url}2"},
    ]
    assert [one["content_type"] for one in second["attachments"]] == ["application/octet-stream"]
    carrier.texts.write(to=NUMBER, from_=contact, body="STOP", media=media[:1])
    await desk.comes_true(lambda: desk.rows("select 1 from opt_outs where contact = %s", contact), timeout_s=PATIENCE_S)


async def test_nobody_else_says_what_became_of_a_message(house: House, contact: str) -> None:
    """A webhook without a signature is refused, and what is signed about a message of nobody's changes nothing."""
    desk, carrier, _ = house
    form = {"MessageSid": "SM" + "1" * 32, "AccountSid": ACCOUNT.sid, "From": contact, "To": NUMBER, "Body": "Hello"}
    for path in ("inbound", f"status/{ids.mint(ids.TEXT)}"):
        forged = await desk.http.post(f"/webhooks/twilio/sms/{path}", data=form)
        assert forged.status_code == 403
    assert (await desk.get("/v1/sessions", params={"contact": contact})).json()["items"] == []
    order = {"to": contact, "from": NUMBER, "text": "Your table is ready."}
    await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
    await last_is(desk, contact, "delivered")
    creates = [fact for fact in carrier.journal.facts(RestAnswered) if dict(fact.form).get("To") == contact]
    assert [dict(fact.form)["StatusCallback"].partition("/sms/status/txt_")[1] != "" for fact in creates] == [True]
