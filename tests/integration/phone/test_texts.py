"""Texts through the emulated carrier, with the vendor's own client and validator on the other side."""

from collections.abc import AsyncIterator

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from turncall_phone import Carrier
from turncall_phone.client import CarrierClient
from turncall_phone.control_shapes import NumberSetting
from turncall_phone.faults import CallbackFault
from turncall_phone.journal import Alert, TextMoved, WebhookSent
from turncall_phone.texting import Undeliverable
from turncall_phone.texts import STARTED, STOPPED

NUMBER, PERSON = "+15550100001", "+15550177777"
TOKEN = "phone-test-token"

# The vendor's client passes its credentials in a way that aiohttp will drop: theirs to change.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]


@pytest.fixture
async def sdk(carrier: Carrier, official) -> AsyncIterator[Client]:
    """The vendor's own client."""
    (account,) = carrier.accounts.values()
    async with official(account, carrier) as connected:
        yield connected


async def test_a_person_writes_and_the_customer_answers(carrier: Carrier, customer, sdk) -> None:
    """The webhook is signed as the vendor signs it; the answer over REST arrives, and its progress is told."""
    carrier.configure(NUMBER, sms_url=customer.on("/sms", "<Response/>"))
    written = carrier.texts.write(to=NUMBER, from_=PERSON, body=" héllo ✓ ")
    (asked,) = await customer.asked_for("/sms")
    assert RequestValidator(TOKEN).validate(asked.url, dict(asked.params), asked.signature)
    assert (asked["MessageSid"], asked["Body"], asked["NumSegments"]) == (written.sid, " héllo ✓ ", "1")
    sent = await sdk.messages.create_async(to=PERSON, from_=NUMBER, body="Good day", status_callback=customer.url("/s"))
    assert (sent.status, sent.direction, sent.num_segments) == ("queued", "outbound-api", "1")
    told = await customer.asked_for("/s", times=3)
    assert {one["MessageStatus"] for one in told} == {"sending", "sent", "delivered"}
    assert [text.body for text in await carrier.texts.received(PERSON, timeout_s=5)] == ["Good day"]
    (listed,) = await sdk.messages.list_async(to=PERSON, from_=NUMBER)
    assert (listed.sid, listed.status) == (sent.sid, (await sdk.messages(sent.sid).fetch_async()).status)


async def test_words_refusals_and_failures_are_the_vendors(carrier: Carrier, customer, sdk) -> None:
    """STOP is answered by the carrier, which then refuses with 21610 until START; a phone that is off is 30003."""
    carrier.configure(NUMBER, sms_url=customer.on("/sms", "<Response/>"))
    carrier.texts.write(to=NUMBER, from_=PERSON, body="stop")
    with pytest.raises(TwilioRestException) as refused:
        await sdk.messages.create_async(to=PERSON, from_=NUMBER, body="Hello")
    assert (refused.value.status, refused.value.code) == (400, 21610)
    carrier.texts.write(to=NUMBER, from_=PERSON, body="Start")
    assert [text.body for text in carrier.texts.inbox(PERSON)] == [STOPPED, STARTED]
    for body, code in (("x" * 1601, 21617), ("", 21602)):
        with pytest.raises(TwilioRestException) as refused:
            await sdk.messages.create_async(to=PERSON, from_=NUMBER, body=body)
        assert refused.value.code == code
    carrier.texts.expect(PERSON, Undeliverable(code=30003))
    await sdk.messages.create_async(to=PERSON, from_=NUMBER, body="Hello", status_callback=customer.url("/s"))
    told = await customer.asked_for("/s", times=3)
    assert [dict(one.params).get("ErrorCode") for one in told if one["MessageStatus"] == "undelivered"] == ["30003"]


async def test_what_goes_wrong_at_the_customer(carrier: Carrier, customer) -> None:
    """A webhook may come twice; one that fails is followed by the fallback, and a document with verbs is an alert."""
    carrier.configure(
        NUMBER, sms_url=customer.on("/sms", (500, "")), sms_fallback_url=customer.on("/spare", "<Response/>")
    )
    carrier.faults.add(CallbackFault(event="received", effect="duplicate"))
    text = carrier.texts.write(to=NUMBER, from_=PERSON, body="Hello")
    spare = await customer.asked_for("/spare", times=2)
    assert (spare[0]["ErrorCode"], spare[0]["MessageSid"]) == ("11200", text.sid)
    customer.on("/sms", "<Response><Message>Hello</Message></Response>")
    talkative = carrier.texts.write(to=NUMBER, from_=PERSON, body="Hello")
    await carrier.journal.first(
        lambda e: e.call_sid == talkative.sid and isinstance(e.fact, Alert) and e.fact.code == 12200, timeout_s=15
    )
    assert [fact.purpose for fact in carrier.journal.facts(WebhookSent, text.sid)].count("text") == 2


async def test_a_person_writes_from_outside(carrier: Carrier, customer) -> None:
    """The control face takes texts and shows what arrived on a phone."""
    async with CarrierClient(carrier.base_url) as client:
        await client.set_number(NumberSetting(phone_number=NUMBER, sms_url=customer.on("/sms", "<Response/>")))
        written = await client.write_text(to=NUMBER, from_=PERSON, body="help")
        await customer.asked_for("/sms")
        (answered,) = await client.inbox(PERSON)
        assert (answered.from_, answered.status) == (NUMBER, "delivered")
        await client.set_text_phone(PERSON, Undeliverable())
        assert carrier.texts.phone(PERSON) == Undeliverable()
        assert carrier.journal.facts(TextMoved, written.sid)[0].status == "received"
