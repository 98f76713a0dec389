"""Faults on purpose, seen from the customer's side."""

import aiohttp
import pytest

from turncall_phone import Answers, CallStatus, Carrier, HangUp, Pause, WaitForHangUp
from turncall_phone.accounts import Account
from turncall_phone.calls import CallPlan, Instruction, Subscription
from turncall_phone.faults import AnswerFault, CallbackFault, LossFault, RestFault, StreamFault
from turncall_phone.journal import Alert, StreamClosed, WebhookDropped, WebhookSent
from turncall_phone.overrides import Overrides

NUMBER, PERSON = "+15550100001", "+15550177777"
EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})


def place(carrier: Carrier, customer, script=()):  # type: ignore[no-untyped-def]
    """An outbound call that reports everything and hangs up."""
    (account,) = carrier.accounts.values()
    carrier.expect(PERSON, Answers(after_s=0, script=script))
    plan = CallPlan(
        instruction=Instruction(twiml="<Response><Hangup/></Response>"),
        subscription=Subscription(url=customer.url("/status"), events=EVENTS),
    )
    return carrier.place(account, to=PERSON, from_=NUMBER, plan=plan)


def reported(customer) -> list[str]:  # type: ignore[no-untyped-def]
    """The statuses in the order in which they arrived."""
    return [asked["CallStatus"] for asked in customer.requests("/status")]


async def test_a_duplicated_callback_arrives_twice_the_same(carrier: Carrier, customer) -> None:
    """Both copies carry the same sequence number."""
    carrier.faults.add(CallbackFault(event="completed", effect="duplicate"))

    await place(carrier, customer).settled(timeout_s=20)

    copies = [a for a in customer.requests("/status") if a["CallStatus"] == "completed"]
    assert [a["SequenceNumber"] for a in copies] == ["3", "3"]


async def test_a_dropped_callback_never_arrives_and_is_in_the_journal(carrier: Carrier, customer) -> None:
    """The others keep their numbers, so that the hole can be seen."""
    carrier.faults.add(CallbackFault(event="answered", effect="drop"))

    call = place(carrier, customer)
    await call.settled(timeout_s=20)

    assert sorted(a["SequenceNumber"] for a in customer.requests("/status")) == ["0", "1", "3"]
    assert len(carrier.journal.facts(WebhookDropped, call.sid)) == 1


async def test_a_held_callback_is_overtaken_by_the_next(carrier: Carrier, customer) -> None:
    """`ringing` arrives after `in-progress`, still with its own number and status."""
    carrier.faults.add(CallbackFault(event="ringing", effect="hold", delay_s=5.0))

    await place(carrier, customer, script=(Pause(length_s=0.1),)).settled(timeout_s=20)

    order = reported(customer)
    assert order.index("ringing") > order.index("in-progress")
    assert sorted(order) == ["completed", "in-progress", "initiated", "ringing"]


async def test_a_delayed_callback_comes_after_the_end(carrier: Carrier, customer) -> None:
    """A live status can arrive when the call is over."""
    carrier.faults.add(CallbackFault(event="answered", effect="delay", delay_s=0.3))

    await place(carrier, customer).settled(timeout_s=20)

    assert reported(customer)[-1] == "in-progress"


@pytest.mark.parametrize(
    ("effect", "code", "asked"),
    [("status", "11200", 0), ("timeout", "11205", 0), ("reset", "11205", 0), ("bad_xml", "12100", 0)],
)
async def test_a_spoilt_answer_leads_to_the_fallback(customer, effect: str, code: str, asked: int) -> None:
    """The customer's good answer never counts: the fallback is asked with the code of the failure."""
    account = Account(sid="AC" + "8" * 32, auth_token="token", numbers=(NUMBER,))
    limits = Overrides(read_ms=200, total_ms=400, retries=0)
    customer.on("/voice", "<Response><Say>fine</Say></Response>")
    customer.on("/fallback", "<Response/>")
    async with Carrier([account], webhook_limits=limits) as carrier:
        carrier.configure(NUMBER, voice_url=customer.url("/voice"), voice_fallback_url=customer.url("/fallback"))
        carrier.faults.add(AnswerFault(url="/voice", effect=effect))
        call = await carrier.dial(to=NUMBER, from_=PERSON)
        await call.settled(timeout_s=20)

    assert len(customer.requests("/voice")) == asked
    assert customer.requests("/fallback")[0]["ErrorCode"] == code
    assert call.heard_texts == ()


async def test_an_answer_can_be_lost_on_its_way_back(carrier: Carrier, customer) -> None:
    """The customer acts on a request whose answer the carrier never sees."""
    customer.on("/voice", "<Response><Say>fine</Say></Response>")
    customer.on("/fallback", "<Response/>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice"), voice_fallback_url=customer.url("/fallback"))
    carrier.faults.add(AnswerFault(url="/voice", effect="status", status_code=502, is_delivered=True))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    assert (len(customer.requests("/voice")), len(customer.requests("/fallback"))) == (1, 1)


async def test_failures_are_retried_only_as_the_fragment_says(carrier: Carrier, customer) -> None:
    """`#rc=2&rp=5xx` tries a status callback three times under one idempotency token; without it, once."""
    customer.on("/voice", "<Response><Hangup/></Response>")
    customer.on("/status", (500, ""))
    attempts = []
    for fragment in ("", "#rc=2&rp=5xx"):
        customer.asked.clear()
        carrier.configure(NUMBER, voice_url=customer.url("/voice"), status_callback=customer.url("/status") + fragment)
        await (await carrier.dial(to=NUMBER, from_=PERSON)).settled(timeout_s=20)
        asked = customer.requests("/status")
        attempts.append(len(asked))
        assert len({a.headers["I-Twilio-Idempotency-Token"] for a in asked}) == 1

    assert attempts == [1, 3]
    assert [a.code for a in carrier.journal.facts(Alert)] == [15003, 15003]
    assert [w.attempt for w in carrier.journal.facts(WebhookSent) if w.purpose == "status"] == [1, 1, 2, 3]


async def test_a_dropped_media_socket_is_a_loss_on_both_sides(carrier: Carrier, customer) -> None:
    """The customer sees the connection go without a close frame; `action` is asked."""
    customer.on("/action", "<Response/>")
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect(action="/action")))
    carrier.faults.add(StreamFault(effect="drop", at_ms=100))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    (closed,) = carrier.journal.facts(StreamClosed)
    assert closed.by == "loss"
    assert customer.messages[-1]["event"] == "media"
    assert len(customer.requests("/action")) == 1


@pytest.mark.parametrize(("effect", "told"), [("no_action", True), ("unnoticed", False)])
async def test_a_carrier_may_never_go_on_after_a_loss(carrier: Carrier, customer, effect: str, told: bool) -> None:
    """Without an `action` request the call stays up in silence until it is updated or hung up."""
    stream = f'<Stream url="{customer.stream_url()}" statusCallback="{customer.url("/stream-status")}"/>'
    customer.on("/voice", f'<Response><Connect action="/action">{stream}</Connect></Response>')
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))
    carrier.faults.add(StreamFault(effect="drop", at_ms=60))
    carrier.faults.add(LossFault(effect=effect))

    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp()])
    await carrier.journal.first(lambda e: isinstance(e.fact, StreamClosed), timeout_s=20)
    await call.line.wait_ms(200)

    assert call.status is CallStatus.IN_PROGRESS
    assert customer.requests("/action") == []
    events = [a["StreamEvent"] for a in customer.requests("/stream-status")]
    assert ("stream-stopped" in events) is told
    call.hang_up()
    await call.settled(timeout_s=20)


async def test_a_stalled_reader_takes_nothing_in_until_it_is_over(carrier: Carrier, customer) -> None:
    """While the carrier does not read, the caller hears nothing of what is sent; afterwards it plays."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect()))
    carrier.faults.add(StreamFault(effect="stall", at_ms=0, for_ms=300))
    heard_before = []

    async def burst(socket: aiohttp.web.WebSocketResponse) -> None:
        sid = await customer.started(socket)
        await socket.send_json(customer.audio(sid, b"\x80" * 160))
        while await customer.read(socket) is not None:
            heard_before.append(any(call.heard))

    customer.media = burst
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[Pause(length_s=0.6), HangUp()])
    await call.settled(timeout_s=20)

    assert any(call.heard)
    assert not any(heard_before[:12])


async def test_a_create_can_succeed_and_look_failed(carrier: Carrier) -> None:
    """The answer says 500, the call is dialed all the same: what a gateway's timeout looks like."""
    (account,) = carrier.accounts.values()
    carrier.faults.add(RestFault(path="/Calls.json", status_code=500, is_done=True))
    url = f"{carrier.base_url}/2010-04-01/Accounts/{account.sid}/Calls.json"
    headers = {"Authorization": aiohttp.encode_basic_auth(account.sid, account.auth_token)}
    form = {"To": PERSON, "From": NUMBER, "Twiml": "<Response/>"}

    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as answer:
        body = await answer.json()

    assert (answer.status, body["code"]) == (500, 20500)
    (call,) = carrier.calls
    assert await call.ended(timeout_s=20) is CallStatus.COMPLETED
