"""The REST face, driven by the vendor's own client."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest
from multidict import MultiDict
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from turncall_phone import Answers, Busy, CallStatus, Carrier, HangUp, NeverAnswers, Pause, Unreachable, WaitForHangUp
from turncall_phone.accounts import Account
from turncall_phone.journal import RestAnswered

# The vendor's client passes its credentials in a way that aiohttp will drop: theirs to change.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]

NUMBER, PERSON = "+15550100001", "+15550177777"
SAY = "<Response><Say>Hello</Say></Response>"


def elsewhere(url: str, base_url: str) -> str:
    """`url` at the carrier's address."""
    base, parts = urlsplit(base_url), urlsplit(url)
    return urlunsplit((base.scheme, base.netloc, parts.path, parts.query, ""))


class SyncHttp(TwilioHttpClient):
    """The client's own HTTP, pointed at the carrier."""

    def __init__(self, base_url: str) -> None:
        super().__init__(timeout=5)
        self._base_url = base_url

    def request(self, method, url, *args, **kwargs):  # type: ignore[no-untyped-def]
        return super().request(method, elsewhere(url, self._base_url), *args, **kwargs)


@pytest.fixture
async def client(carrier: Carrier, official) -> AsyncIterator[Client]:
    """The official client, asynchronous."""
    (account,) = carrier.accounts.values()
    async with official(account, carrier) as connected:
        yield connected


async def test_the_sync_client_creates_fetches_and_ends_a_call(carrier: Carrier, customer) -> None:
    """Unmodified but for its host, the official client sees queued, in-progress and completed."""
    (account,) = carrier.accounts.values()
    client = Client(account.sid, account.auth_token, http_client=SyncHttp(carrier.base_url))
    customer.on("/voice", "<Response><Pause length='30'/></Response>")

    created = await asyncio.to_thread(
        client.calls.create, to=PERSON, from_=NUMBER, url=customer.url("/voice"), status_callback=customer.url("/s")
    )
    call = carrier.calls.find(created.sid)
    assert call is not None
    await call.reached(lambda s: s is CallStatus.IN_PROGRESS, timeout_s=5)
    fetched = await asyncio.to_thread(client.calls(created.sid).fetch)
    await asyncio.to_thread(client.calls(created.sid).update, status="completed")
    await call.settled(timeout_s=20)
    ended = await asyncio.to_thread(client.calls(created.sid).fetch)

    assert (created.status, created.direction, created.start_time) == ("queued", "outbound-api", None)
    assert (fetched.status, fetched.duration) == ("in-progress", None)
    assert (ended.status, ended.duration, ended.to, ended._from) == ("completed", "0", PERSON, NUMBER)
    assert ended.end_time is not None
    client.http_client.session.close()


async def test_progress_comes_with_its_sequence_and_valid_signatures(
    carrier: Carrier, client: Client, customer
) -> None:
    """All four events arrive, numbered from 0, with the statuses and times of the documentation."""
    customer.on("/voice", "<Response><Hangup/></Response>")

    created = await client.calls.create_async(
        to=PERSON,
        from_=NUMBER,
        url=customer.url("/voice"),
        status_callback=customer.url("/status"),
        status_callback_event=["initiated", "ringing", "answered", "completed"],
    )
    reports = await customer.asked_for("/status", times=4)

    by_number = sorted(reports, key=lambda r: int(r["SequenceNumber"]))
    assert [(r["SequenceNumber"], r["CallStatus"]) for r in by_number] == [
        ("0", "initiated"),
        ("1", "ringing"),
        ("2", "in-progress"),
        ("3", "completed"),
    ]
    assert {r["CallSid"] for r in reports} == {created.sid}
    validator = RequestValidator(next(iter(carrier.accounts.values())).auth_token)
    assert all(validator.validate(r.url, MultiDict(r.params), r.signature) for r in customer.asked)
    (voice,) = customer.requests("/voice")
    assert (voice["CallStatus"], voice["Direction"]) == ("in-progress", "outbound-api")


@pytest.mark.parametrize(
    ("phone", "status", "sequence", "sip"),
    [
        (Busy(), "busy", "2", "486"),
        (NeverAnswers(), "no-answer", "2", "487"),
        (Unreachable(), "failed", "1", "404"),
    ],
)
async def test_unanswered_calls_end_as_the_called_phone_makes_them(
    carrier: Carrier, client: Client, customer, phone, status: str, sequence: str, sip: str
) -> None:
    """Busy, unanswered and unreachable phones each have their status; no document is asked for."""
    carrier.expect(PERSON, phone)

    created = await client.calls.create_async(
        to=PERSON, from_=NUMBER, url=customer.url("/voice"), status_callback=customer.url("/status"), timeout=1
    )
    (report,) = await customer.asked_for("/status")

    assert (report["CallStatus"], report["SequenceNumber"], report["SipResponseCode"], report["CallDuration"]) == (
        status,
        sequence,
        sip,
        "0",
    )
    assert customer.requests("/voice") == []
    assert (await client.calls(created.sid).fetch_async()).status == status


async def test_the_called_person_follows_a_script(carrier: Carrier, client: Client, customer) -> None:
    """A phone that answers talks and hangs up as it was told to."""
    carrier.expect(PERSON, Answers(script=(Pause(length_s=0.1), HangUp())))
    customer.on("/voice", customer.connect())

    created = await client.calls.create_async(to=PERSON, from_=NUMBER, url=customer.url("/voice"))
    call = carrier.calls.find(created.sid)
    assert call is not None

    assert await call.ended(timeout_s=20) is CallStatus.COMPLETED
    assert call.line.at_ms >= 100


async def test_new_twiml_ends_a_live_stream_and_runs(carrier: Carrier, client: Client, customer) -> None:
    """An update takes the call off its stream, which gets `stop`; `action` of the old document is not asked."""
    customer.on("/action", "<Response/>")
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect(action="/action")))
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp()])
    await call.answered(timeout_s=20)
    await carrier.journal.first(lambda e: type(e.fact).__name__ == "StreamOpened", timeout_s=20)

    await client.calls(call.sid).update_async(twiml=SAY)
    await call.settled(timeout_s=20)

    assert call.heard_texts == ("Hello",)
    assert customer.messages[-1]["event"] == "stop"
    assert customer.requests("/action") == []


async def test_a_queued_call_that_is_canceled_reports_nothing(customer, official) -> None:
    """Above the rate calls wait in the queue; canceled there they leave no callback."""
    account = Account(sid="AC" + "6" * 32, auth_token="other-token", numbers=(NUMBER,))
    async with Carrier([account], calls_per_s=0.5) as carrier, official(account, carrier) as client:
        ask = {"to": PERSON, "from_": NUMBER, "twiml": SAY, "status_callback": customer.url("/status")}
        first = await client.calls.create_async(**ask)
        second = await client.calls.create_async(**ask)
        await client.calls(second.sid).update_async(status="canceled")
        calls = [carrier.calls.find(sid) for sid in (first.sid, second.sid)]
        for call in calls:
            assert call is not None
            await call.settled(timeout_s=20)

    assert [call.status for call in calls if call] == [CallStatus.COMPLETED, CallStatus.CANCELED]
    assert {r["CallSid"] for r in customer.requests("/status")} == {first.sid}


async def test_numbers_are_listed_filtered_fetched_and_pointed_elsewhere(carrier: Carrier, client: Client) -> None:
    """What an import of a number needs: find it by its number, change its URLs, read them back."""
    (found,) = await client.incoming_phone_numbers.list_async(phone_number=NUMBER)
    await client.incoming_phone_numbers(found.sid).update_async(
        voice_url="https://turncall.example/voice",
        voice_fallback_url="https://turncall.example/fallback",
        status_callback="https://turncall.example/status",
    )
    fetched = await client.incoming_phone_numbers(found.sid).fetch_async()

    assert (fetched.phone_number, fetched.voice_method) == (NUMBER, "POST")
    assert fetched.voice_url == "https://turncall.example/voice"
    assert fetched.voice_fallback_url == "https://turncall.example/fallback"
    assert carrier.numbers.find(NUMBER).status_callback == "https://turncall.example/status"
    assert await client.incoming_phone_numbers.list_async(phone_number="+1999") == []


async def test_lists_come_in_pages(carrier: Carrier, client: Client) -> None:
    """The client walks from page to page and meets each call once, newest first."""
    carrier.expect(PERSON, Unreachable())
    sids = [(await client.calls.create_async(to=PERSON, from_=NUMBER, twiml=SAY)).sid for _ in range(5)]

    listed = await client.calls.list_async(page_size=2, to=PERSON)

    assert [call.sid for call in listed] == sids[::-1]
    assert await client.calls.list_async(to="+15550000000") == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"to": "+1555"}, 400, 21211),
        ({"from_": "12"}, 400, 21212),
        ({"from_": "+15559999999"}, 400, 21210),
        ({"twiml": None, "url": "not a url"}, 400, 21205),
        ({"twiml": "<Response>" + "x" * 4000}, 400, 32018),
        ({"status_callback": "https://a.example/", "status_callback_event": ["sneezed"]}, 400, 21626),
        ({"record": True}, 400, 20001),
    ],
)
async def test_bad_orders_are_refused_with_the_vendors_codes(
    carrier: Carrier, client: Client, change: dict[str, object], status: int, code: int
) -> None:
    """The client raises its own exception with the code, and no call is placed."""
    asked = {"to": PERSON, "from_": NUMBER, "twiml": SAY} | change

    with pytest.raises(TwilioRestException) as refused:
        await client.calls.create_async(**{k: v for k, v in asked.items() if v is not None})

    assert (refused.value.status, refused.value.code) == (status, code)
    assert list(carrier.calls) == []


async def test_an_ended_call_takes_no_update_and_an_unknown_one_is_not_found(carrier: Carrier, client: Client) -> None:
    """21220 after the end, 20404 for a SID that nobody has."""
    carrier.expect(PERSON, Unreachable())
    created = await client.calls.create_async(to=PERSON, from_=NUMBER, twiml=SAY)
    await carrier.calls.find(created.sid).ended(timeout_s=20)

    with pytest.raises(TwilioRestException) as over:
        await client.calls(created.sid).update_async(status="completed")
    with pytest.raises(TwilioRestException) as unknown:
        await client.calls("CA" + "0" * 32).fetch_async()

    assert (over.value.status, over.value.code) == (400, 21220)
    assert (unknown.value.status, unknown.value.code) == (404, 20404)


async def test_wrong_credentials_are_refused(carrier: Carrier) -> None:
    """A wrong token, a wrong account in the path and no credentials at all: 401, 20003."""
    (account,) = carrier.accounts.values()
    path = f"{carrier.base_url}/2010-04-01/Accounts/{account.sid}/Calls.json"
    other = path.replace(account.sid, "AC" + "9" * 32)
    good = aiohttp.encode_basic_auth(account.sid, account.auth_token)
    bad = aiohttp.encode_basic_auth(account.sid, "wrong")
    async with aiohttp.ClientSession() as session:
        for url, headers in ((path, {}), (path, {"Authorization": bad}), (other, {"Authorization": good})):
            async with session.get(url, headers=headers) as answer:
                body = await answer.json()
                assert (answer.status, body["code"], body["status"]) == (401, 20003, 401)


async def test_unknown_parameters_are_refused_when_strict_and_ignored_otherwise(customer) -> None:
    """A misspelt parameter is an error here; a lenient carrier ignores it as the vendor does."""
    account = Account(sid="AC" + "7" * 32, auth_token="token", numbers=(NUMBER,))
    form = {"To": PERSON, "From": NUMBER, "Twiml": SAY, "StatusCallBack": customer.url("/status")}
    statuses = []
    for is_strict in (True, False):
        async with Carrier([account], is_strict=is_strict) as carrier, aiohttp.ClientSession() as session:
            url = f"{carrier.base_url}/2010-04-01/Accounts/{account.sid}/Calls.json"
            headers = {"Authorization": aiohttp.encode_basic_auth(account.sid, account.auth_token)}
            async with session.post(url, data=form, headers=headers) as answer:
                statuses.append(answer.status)
            assert carrier.journal.facts(RestAnswered)[0].status == statuses[-1]

    assert statuses == [400, 201]
