"""WhatsApp messages over an emulated Meta: whatever a batch holds and however often it comes, each is answered once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from turncall_control.webhooks.occurrences import SESSION_OCCURRENCES
from turncall_phone.meta import App, BusinessPhone, Meta
from turncall_phone.meta.messages import change, contact, new_id
from turncall_testkit.pen import Pen, writing

PHONE = BusinessPhone(id="4400", number="15550120001", token="a-token-of-the-graph", templates=("table_ready",))
OTHER = BusinessPhone(id="4401", number="15550120002", token="another-token-of-the-graph")
SECRET = "an-app-secret-of-this-test"
SENDER = {"kind": "whatsapp", "phone_number_id": PHONE.id, "access_token": PHONE.token, "app_secret": SECRET}
NUMBER = f"+{PHONE.number}"
VERIFY_TOKEN = "a-verify-token"
PATIENCE_S = 30

House = tuple[Any, Meta, Pen]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(open_desk: Any) -> AsyncIterator[House]:
    """A control plane with a sender whose webhooks come to it, and a text pool that echoes."""
    app = App(secret=SECRET)
    async with AsyncExitStack() as running:
        meta = await running.enter_async_context(Meta(app, [PHONE, OTHER]))
        desk = await running.enter_async_context(
            open_desk(None, is_reachable=True, twilio_base_url="http://127.0.0.1:9", whatsapp_base_url=meta.base_url)
        )
        meta.app = App(secret=SECRET, webhook_url=f"{desk.plane.config.public_url}/webhooks/whatsapp/{desk.project_id}")
        pen = await running.enter_async_context(writing(desk.bus))
        await put(desk, SENDER)
        order = {"number": NUMBER, "carrier": "whatsapp", "routing": {"kind": "agent", "agent_id": desk.agent_id}}
        bound = await desk.http.post("/v1/numbers", json=order, headers=desk.bearer)
        assert bound.status_code == 201, bound.text
        yield desk, meta, pen


async def put(desk: Any, sender: dict[str, str]) -> dict[str, Any]:
    """Stores a sender; the desk's own key may not, so an admin's does."""
    made = await desk.http.put(
        "/v1/credentials", json={"verify_token": VERIFY_TOKEN, **sender}, headers=await desk.admin()
    )
    assert made.status_code == 200, made.text
    return dict(made.json())


@pytest.fixture
def person() -> str:
    """Somebody who has never written before, as Meta writes numbers."""
    return f"1555{uuid4().int % 10**7:07}"


async def session_of(desk: Any, person: str) -> dict[str, Any]:
    """The person's only session, with its messages."""
    (found,) = (await desk.get("/v1/sessions", params={"contact": f"+{person}"})).json()["items"]
    shown = await desk.get(f"/v1/sessions/{found['id']}/messages", params={"limit": 200})
    return {**found, "messages": shown.json()["items"]}


async def last_is(desk: Any, person: str, delivery: str) -> dict[str, Any]:
    """The person's last message, once it has come so far."""
    message: dict[str, Any] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            while message.get("delivery") != delivery:
                await asyncio.sleep(0.05)
                message = (await session_of(desk, person))["messages"][-1]
    except TimeoutError:
        raise AssertionError(f"it did not become {delivery}: {message}") from None
    return message


def counted(desk: Any, kind: str) -> float:
    """How often the webhooks told of something of this kind."""
    return desk.plane.metrics.get_sample_value("turncall_whatsapp_changes_total", {"kind": kind}) or 0.0


async def test_every_part_of_a_batch_counts_once_however_often_it_comes(house: House, person: str) -> None:
    """Messages of several people, an unknown field, a call, a reaction, a status of nothing, a number of another app
    and shapes that nobody knows come in one batch, three times: each is answered once, and the rest is counted."""
    desk, meta, pen = house
    people = [person, person[:-1] + "x".replace("x", str((int(person[-1]) + 1) % 10))]
    strange = {"from": person, "id": new_id(), "type": "reaction", "reaction": {"emoji": "👍"}}
    call = {"id": "wacid.1", "from": person, "event": "connect"}
    status = {"id": "wamid.unknown", "status": "delivered", "recipient_id": person}
    before = {kind: counted(desk, kind) for kind in ("call", "unknown", "unreadable", "foreign", "status")}
    letters = [meta.letter(PHONE, person=one, text=f"I am {one}", message_id=new_id()) for one in people]
    choice = {"type": "list_reply", "list_reply": {"id": "1", "title": "The second one"}}
    chosen = {"from": people[1], "id": new_id(), "timestamp": "1", "type": "interactive", "interactive": choice}
    meta.repeats = 2
    try:
        meta.bring(
            letters[0],
            change(PHONE, "calls", contacts=[contact(person)], calls=[call]),
            {"field": "account_update", "value": {"event": "anything"}},
            change(PHONE, messages=[strange], statuses=[status]),
            change(BusinessPhone(id="999", number="1", token=""), messages=[]),
            {"field": "messages", "value": "not an object"},
            letters[1],
        )
        for one in people:
            arrived = await meta.received(one, timeout_s=PATIENCE_S)
            assert [message.text for message in arrived] == [f"Echo: I am {one}"]
        meta.bring(change(PHONE, messages=[chosen]))
        await meta.received(people[1], 2, timeout_s=PATIENCE_S)
    finally:
        meta.repeats = 0
    await desk.comes_true(lambda: counted(desk, "call") == before["call"] + 3, timeout_s=PATIENCE_S)
    assert {kind: counted(desk, kind) - before[kind] for kind in ("unknown", "unreadable", "foreign")} == {
        "unknown": 3,
        "unreadable": 3,
        "foreign": 6,
    }
    assert pen.turns[-1].wrote[-1].text == "The second one"
    session = await session_of(desk, person)
    assert (session["channel"], [m["author"] for m in session["messages"]]) == ("whatsapp", ["contact", "agent"])
    wamid = letters[0]["value"]["messages"][0]["id"]
    assert meta.marks[wamid] is True, "read, and somebody types"
    await last_is(desk, person, "delivered")
    meta.reads(meta.inbox(person)[0])
    await last_is(desk, person, "read")
    assert {code for code, _ in meta.posts} == {200}


async def test_pictures_voices_papers_and_places_are_not_lost(house: House, person: str) -> None:
    """Each is a message that the agent reads of and answers; what opens it at Meta stands on it."""
    desk, meta, pen = house
    sent: list[tuple[str, dict[str, Any], str]] = [
        ("image", {"mime_type": "image/png", "caption": "Look"}, "Look\n(The contact has sent an image."),
        ("audio", {"mime_type": "audio/ogg; codecs=opus", "voice": True}, "(The contact has sent a voice message."),
        ("document", {"mime_type": "application/pdf", "filename": "bill.pdf"}, "a document named 'bill.pdf'."),
        ("location", {"latitude": 52.5, "longitude": 13.4, "name": "Home"}, "Home, 52.5, 13.4"),
    ]
    for count, (kind, what, told) in enumerate(sent, start=1):
        meta.attach(PHONE, person=person, kind=kind, **what)
        await meta.received(person, count, timeout_s=PATIENCE_S)
        assert told in pen.turns[-1].wrote[-1].text
    written = [m for m in (await session_of(desk, person))["messages"] if m["author"] == "contact"]
    shown = [[(one["content_type"], one["name"], one["is_voice"]) for one in m["attachments"]] for m in written]
    assert shown == [
        [("image/png", "", False)],
        [("audio/ogg", "", True)],
        [("application/pdf", "bill.pdf", False)],
        [],
    ]
    assert all(len(one["reference"]) == 16 for m in written for one in m["attachments"])


async def test_outside_the_window_only_a_template_goes_out(house: House, person: str) -> None:
    """To somebody who has not written for a day a text is refused before anybody is asked, a template is sent, and what
    comes back opens the window in the same session."""
    desk, meta, _ = house
    subscription = await desk.subscribed()
    order = {"to": f"+{person}", "from": NUMBER, "channel": "whatsapp", "text": "Your table is ready, Ada."}
    shut = await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
    assert (shut.status_code, shut.json()["type"]) == (409, "urn:turncall:problem:window-closed")
    template = {"name": "table_ready", "language": "en_US", "parameters": ["Ada"]}
    sent = await desk.http.post("/v1/messages", json={**order, "template": template}, headers=desk.bearer)
    assert sent.status_code == 201, sent.text
    (arrived,) = await meta.received(person, timeout_s=PATIENCE_S)
    assert (arrived.template, arrived.text) == ("table_ready", "Ada")
    meta.write(PHONE, person=person, text="Thank you")
    assert (await meta.received(person, 2, timeout_s=PATIENCE_S))[-1].text == "Echo: Thank you"
    assert (await desk.http.post("/v1/messages", json=order, headers=desk.bearer)).status_code == 201
    await meta.received(person, 3, timeout_s=PATIENCE_S)
    session = await session_of(desk, person)
    assert [m["author"] for m in session["messages"]] == ["operator", "contact", "agent", "operator"]
    await desk.execute("update messages set created_at = now() - interval '25 h' where author = 'contact'")
    late = await desk.http.post(
        f"/v1/sessions/{session['id']}/messages",
        json={"text": "Still there?", "author": "operator"},
        headers=desk.bearer,
        timeout=30,
    )
    assert late.status_code == 200, late.text
    assert (await last_is(desk, person, "failed"))["delivery_failure"] == "window_closed"
    sms = await desk.http.post("/v1/messages", json={**order, "channel": "sms"}, headers=desk.bearer)
    assert (sms.status_code, sms.json()["errors"][0]["field"]) == (422, "from")
    told = await desk.hears_of(subscription, session["id"])
    promised = {tag for tag, found in SESSION_OCCURRENCES.items() if "whatsapp" in found.channels}
    assert set(told) == {(tag, "whatsapp") for tag in promised}


async def test_what_goes_wrong_on_the_way_is_said_and_nothing_goes_twice(house: House, person: str) -> None:
    """Meta's codes become reasons; a send whose answer was lost is not sent again, its status says that it arrived."""
    desk, meta, _ = house
    meta.write(PHONE, person=person, text="Hello")
    await meta.received(person, timeout_s=PATIENCE_S)
    meta.break_down(500, is_done=True)
    order = {"to": f"+{person}", "from": NUMBER, "channel": "whatsapp", "text": "Your table is ready."}
    await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
    await last_is(desk, person, "delivered")
    assert len(meta.inbox(person)) == 2
    for code, reason in ((131026, "invalid_number"), (131049, "blocked"), (190, "refused")):
        meta.fail(person, code)
        await desk.http.post("/v1/messages", json=order, headers=desk.bearer)
        assert (await last_is(desk, person, "failed"))["delivery_failure"] == reason
    long = " ".join(f"Sentence number {number} of a long message." for number in range(150))
    meta.fail(person, 0)
    meta._failing.clear()
    await desk.http.post("/v1/messages", json={**order, "text": long}, headers=desk.bearer)
    arrived = (await meta.received(person, 4, timeout_s=PATIENCE_S))[2:]
    assert " ".join(message.text for message in arrived) == long


async def test_only_meta_itself_is_believed(house: House, person: str) -> None:
    """The address is verified by its token, a batch by the app's secret or, while that rotates, the one before; changed
    bytes, another project's secret and another number are refused, and a failing control plane gets the batch again."""
    desk, meta, _ = house
    path = f"/webhooks/whatsapp/{desk.project_id}"
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": VERIFY_TOKEN}
    verified = await desk.http.get(path, params=asked)
    assert (verified.status_code, verified.text) == (200, "1158201444")
    for change_of in ({"hub.verify_token": "wrong"}, {"hub.mode": "x"}):
        assert (await desk.http.get(path, params={**asked, **change_of})).status_code == 403
    assert (await desk.http.get("/webhooks/whatsapp/nobody", params=asked)).status_code == 403
    for body, signature in ((b"{}", ""), (b"{}", "sha256=" + "0" * 64), (b"{}", "sha1=x"), (b"{}", "sha256=\xff")):
        refused = await desk.http.post(path, content=body, headers={"X-Hub-Signature-256": signature.encode("latin-1")})
        assert refused.status_code == 403
    good = meta.app
    meta.app = App(secret="the-secret-of-another-app", webhook_url=good.webhook_url)
    meta.write(PHONE, person=person, text="Forged")
    await desk.comes_true(lambda: meta.posts[-1][0] == 403, timeout_s=PATIENCE_S)
    meta.app = good
    await put(desk, {**SENDER, "app_secret": "the-next-secret-of-the-app", "secondary_app_secret": SECRET})
    try:
        meta.write(PHONE, person=person, text="Old secret")
        await meta.received(person, 1, timeout_s=PATIENCE_S)
        meta.app = App(secret="the-next-secret-of-the-app", webhook_url=good.webhook_url)
        meta.write(PHONE, person=person, text="New secret")
        arrived = await meta.received(person, 2, timeout_s=PATIENCE_S)
    finally:
        meta.app = good
        await put(desk, SENDER)
    assert [message.text for message in arrived] == ["Echo: Old secret", "Echo: New secret"]
    assert [m["text"] for m in (await session_of(desk, person))["messages"] if m["author"] == "contact"] == [
        "Old secret",
        "New secret",
    ]


async def test_a_sender_is_bound_by_who_may_send_from_it(house: House) -> None:
    """A number that no sender of the project has cannot be bound, one whose token is refused cannot be verified, and
    one that is in use cannot be forgotten."""
    desk, _, _ = house
    routing = {"kind": "agent", "agent_id": desk.agent_id}
    foreign = {"number": f"+{OTHER.number}", "carrier": "whatsapp", "routing": routing}
    refused = await desk.http.post("/v1/numbers", json=foreign, headers=desk.bearer)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "number")
    wrong = await put(desk, {**SENDER, "phone_number_id": OTHER.id, "access_token": "not-the-token-of-it"})
    assert (wrong["kind"], wrong["name"], wrong["hint"]) == ("whatsapp", OTHER.id, "")
    admin = await desk.admin()
    tried = await desk.http.post(f"/v1/credentials/{wrong['id']}/verify", json={}, headers=admin)
    assert tried.json()["outcome"] == "refused"
    assert (await desk.http.delete(f"/v1/credentials/{wrong['id']}", headers=admin)).status_code == 204
    listed = (await desk.http.get("/v1/credentials", headers=admin)).json()["items"]
    used = next(one for one in listed if one["name"] == PHONE.id)
    kept = await desk.http.delete(f"/v1/credentials/{used['id']}", headers=admin)
    assert (kept.status_code, kept.json()["type"]) == (409, "urn:turncall:problem:account-in-use")
    (number,) = [one for one in (await desk.get("/v1/numbers")).json()["items"] if one["carrier"] == "whatsapp"]
    check = (await desk.get(f"/v1/numbers/{number['id']}/check")).json()
    assert {finding["check"] for finding in check["findings"]} >= {"carrier_account", "carrier_owns_number", "agent"}
    assert check["is_ok"], check
