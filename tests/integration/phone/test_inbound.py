"""Inbound calls against a customer that answers TwiML and holds media sockets."""

import asyncio
from datetime import datetime
from email.utils import parsedate_to_datetime

import numpy as np
import pytest
from aiohttp import web
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from turncall_phone import CallStatus, Carrier, HangUp, NotOurNumber, Pause, Press, Say, WaitForHangUp
from turncall_phone.journal import Alert, StreamClosed, StreamMark, WebhookSent

NUMBER, PERSON = "+15550100001", "+15550177777"
LOUD = b"\x80" * 160


def sound_ms(pcm: bytes) -> tuple[int, int]:
    """Where sound begins and how long it is, in ms."""
    loud = np.flatnonzero(np.frombuffer(pcm, np.int16))
    return (int(loud[0]) // 8, len(loud) // 8) if len(loud) else (0, 0)


def codes(carrier: Carrier) -> list[int]:
    """The alerts so far."""
    return [alert.code for alert in carrier.journal.facts(Alert)]


async def test_the_caller_is_heard_and_hears(carrier: Carrier, customer) -> None:
    """Over an echoing stream the caller hears what was said, 20 to 200 ms later, and the call completes."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect()))
    tone = np.full(4000, 8000, np.int16).tobytes()

    call = await carrier.dial(
        to=NUMBER, from_=PERSON, script=[Pause(length_s=0.1), Say(pcm=tone), Pause(length_s=0.3), HangUp()]
    )
    status = await call.ended(timeout_s=20)

    assert status is CallStatus.COMPLETED
    said_at, said_for = sound_ms(call.said)
    heard_at, heard_for = sound_ms(call.heard)
    assert 100 <= said_at <= 200
    assert said_for == 500
    assert 20 <= heard_at - said_at <= 200
    assert heard_for == 500


async def test_every_request_of_a_call_is_signed_so_that_the_vendors_validator_accepts_it(
    carrier: Carrier, customer
) -> None:
    """Voice, action, stream, stream status and final status all validate, blanks and unknown parameters included."""
    stream = f'<Stream url="{customer.stream_url()}" statusCallback="{customer.url("/stream-status")}"/>'
    document = f'<Response><Connect action="/action">{stream}</Connect></Response>'
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document), status_callback=customer.url("/status"))

    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[Pause(length_s=0.1), HangUp()])
    await call.settled(timeout_s=20)

    validator = RequestValidator(call.account.auth_token)
    assert {a.path for a in customer.asked} == {"/voice", "/action", "/stream-status", "/status"}
    for asked in customer.asked:
        assert validator.validate(asked.url, MultiDict(asked.params), asked.signature), asked.path
    assert validator.validate(customer.media_url, {}, customer.media_signature)
    (voice,) = customer.requests("/voice")
    assert (voice["FromCity"], voice["CallStatus"], voice["Direction"]) == ("", "ringing", "inbound")
    assert voice["CallTrait"]


async def test_get_webhooks_carry_and_sign_their_parameters_in_the_url(carrier: Carrier, customer) -> None:
    """With GET nothing is posted, and the signature covers the whole URL."""
    number = carrier.configure(NUMBER, voice_url=customer.on("/voice", "<Response/>") + "?tenant=7")
    carrier.numbers.replace(type(number)(**{**_fields(number), "voice_method": "GET"}))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    (asked,) = customer.asked
    assert (asked.method, asked["tenant"], asked["CallSid"]) == ("GET", "7", call.sid)
    assert RequestValidator(call.account.auth_token).validate(asked.url, {}, asked.signature)


def _fields(number) -> dict[str, object]:
    return {name: getattr(number, name) for name in number.__struct_fields__}


async def test_the_end_of_an_inbound_call_is_reported_once_to_the_number(carrier: Carrier, customer) -> None:
    """One request with a final status, RFC 2822 time, durations in seconds and minutes."""
    carrier.configure(
        NUMBER,
        voice_url=customer.on("/voice", "<Response><Pause length='0'/><Say>Hello</Say></Response>"),
        status_callback=customer.url("/status"),
    )

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    (report,) = customer.requests("/status")
    assert (report["CallStatus"], report["SequenceNumber"], report["CallbackSource"]) == (
        "completed",
        "0",
        "call-progress-events",
    )
    assert report["Timestamp"].endswith("+0000")
    assert parsedate_to_datetime(report["Timestamp"]).tzinfo is not None
    assert (report["CallDuration"], report["Duration"], report["SipResponseCode"]) == (
        str(call.duration_s),
        "1" if call.duration_s else "0",
        "200",
    )


async def test_action_is_asked_when_the_server_closes_the_stream(carrier: Carrier, customer) -> None:
    """A close frame ends <Connect>: `action` is asked in progress, its document runs, verbs after it never do."""

    async def close(socket: web.WebSocketResponse) -> None:
        await customer.started(socket)

    customer.media = close
    document = (
        f'<Response><Connect action="/action"><Stream url="{customer.stream_url()}"/></Connect>'
        "<Say>unreachable</Say></Response>"
    )
    customer.on("/action", "<Response><Say>Goodbye</Say></Response>")
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    status = await call.ended(timeout_s=20)

    (action,) = customer.requests("/action")
    assert action["CallStatus"] == "in-progress"
    assert call.heard_texts == ("Goodbye",)
    assert status is CallStatus.COMPLETED
    assert codes(carrier) == [31921]


async def test_action_is_asked_when_the_stream_breaks(carrier: Carrier, customer) -> None:
    """A connection lost without a close frame is 31903 and ends <Connect> all the same."""

    async def die(socket: web.WebSocketResponse) -> None:
        await customer.started(socket)
        transport = socket._req.transport  # the test plays a process that was killed
        transport.abort()

    customer.media = die
    customer.on("/action", "<Response><Say>Back again</Say></Response>")
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect(action="/action")))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.ended(timeout_s=20)

    assert call.heard_texts == ("Back again",)
    assert codes(carrier) == [31903]
    (closed,) = carrier.journal.facts(StreamClosed)
    assert (closed.by, closed.close_code) == ("loss", None)


async def test_without_action_the_next_verb_follows_the_stream(carrier: Carrier, customer) -> None:
    """After a close the document goes on behind </Connect>."""

    async def close(socket: web.WebSocketResponse) -> None:
        await customer.started(socket)

    customer.media = close
    document = customer.connect().replace("</Response>", "<Say>Next verb</Say></Response>")
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.ended(timeout_s=20)

    assert call.heard_texts == ("Next verb",)


async def test_a_caller_who_hangs_up_is_known_to_action_with_a_final_status(carrier: Carrier, customer) -> None:
    """The stream gets `stop` last, and `action` is asked once with `completed`."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect(action="/action")))

    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[Press(digits="5"), HangUp()])
    await call.settled(timeout_s=20)

    assert customer.messages[-1]["event"] == "stop"
    assert [m["dtmf"] for m in customer.messages if m["event"] == "dtmf"] == [{"digit": "5", "track": "inbound_track"}]
    (action,) = customer.requests("/action")
    assert action["CallStatus"] == "completed"


async def test_playback_keeps_real_time_and_marks_tell_when_it_was_heard(carrier: Carrier, customer) -> None:
    """400 ms of audio sent in one go plays for 400 ms; its mark returns at its end, not before."""

    async def burst(socket: web.WebSocketResponse) -> None:
        sid = await customer.started(socket)
        await socket.send_json(customer.audio(sid, LOUD * 20))
        await socket.send_json({"event": "mark", "streamSid": sid, "mark": {"name": "end"}})
        while (message := await customer.read(socket)) is not None:
            if message["event"] == "mark":
                return

    customer.media = burst
    carrier.configure(NUMBER, voice_url=customer.on("/voice", customer.connect()))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.ended(timeout_s=20)

    begin_ms, length_ms = sound_ms(call.heard)
    assert length_ms == 400
    (played,) = [m for m in carrier.journal.facts(StreamMark) if m.event == "played"]
    assert played.at_ms == begin_ms + 400


@pytest.mark.parametrize(
    ("document", "status", "sip"),
    [
        ("<Response><Reject/></Response>", CallStatus.NO_ANSWER, "487"),
        ("<Response><Reject reason='busy'/></Response>", CallStatus.BUSY, "486"),
    ],
)
async def test_reject_as_first_verb_leaves_the_call_unanswered(
    carrier: Carrier, customer, document: str, status: CallStatus, sip: str
) -> None:
    """The caller is turned away, nothing is billed, and the number is told."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document), status_callback=customer.url("/status"))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    assert call.status is status
    assert call.answered_at is None
    (report,) = customer.requests("/status")
    assert (report["CallStatus"], report["SipResponseCode"], report["CallDuration"]) == (status, sip, "0")


async def test_redirects_lead_from_document_to_document(carrier: Carrier, customer) -> None:
    """<Redirect> replaces the document; relative URLs count from the document's own."""
    customer.on("/flows/two", "<Response><Say>Second</Say></Response>")
    first = "<Response><Redirect>two</Redirect><Say>never</Say></Response>"
    carrier.configure(NUMBER, voice_url=customer.on("/flows/one", first))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.ended(timeout_s=20)

    assert call.heard_texts == ("Second",)


async def test_cookies_come_back_and_http_redirects_are_followed(carrier: Carrier, customer) -> None:
    """A cookie set by the first answer is in the next request of the call; a 307 keeps the method."""
    moved = web.Response(status=307, headers={"Location": "/moved"})
    moved.set_cookie("seen", "yes")
    customer.on("/voice", moved)
    customer.on("/moved", "<Response/>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    (asked,) = customer.requests("/moved")
    assert asked.method == "POST"
    assert asked.headers["Cookie"] == "seen=yes"
    assert RequestValidator(call.account.auth_token).validate(asked.url, MultiDict(asked.params), asked.signature)


async def test_credentials_in_a_url_are_sent_only_when_asked_for(carrier: Carrier, customer) -> None:
    """The first request goes without Authorization; after a challenge it is repeated with it."""
    challenge = web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    customer.on("/voice", challenge, "<Response/>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice").replace("//", "//user:pa%3Ass@"))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    first, second = customer.requests("/voice")
    assert "Authorization" not in first.headers
    assert second.headers["Authorization"] == "Basic dXNlcjpwYTpzcw=="
    assert first.headers["I-Twilio-Idempotency-Token"] == second.headers["I-Twilio-Idempotency-Token"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((500, "<Response/>"), 11200),
        ("<Response><Say>torn", 12100),
        ("<Response><Enqueue/></Response>", 12200),
    ],
)
async def test_a_failing_document_is_replaced_by_the_fallback(
    carrier: Carrier, customer, answer: str | tuple[int, str], code: int
) -> None:
    """The fallback URL is asked with the code and the URL of the failure, and its document runs."""
    customer.on("/fallback", "<Response><Say>One moment</Say></Response>")
    carrier.configure(NUMBER, voice_url=customer.on("/voice", answer), voice_fallback_url=customer.url("/fallback"))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.ended(timeout_s=20)

    (asked,) = customer.requests("/fallback")
    assert (asked["ErrorCode"], asked["ErrorUrl"]) == (str(code), customer.url("/voice"))
    assert call.heard_texts == ("One moment",)
    assert codes(carrier) == [code]


async def test_a_customer_who_takes_too_long_is_given_up(carrier: Carrier, customer) -> None:
    """The total time of the URL's own fragment ends the wait, with 11205 to the fallback."""
    released = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    customer.slow["/voice"] = slow
    customer.on("/fallback", "<Response/>")
    carrier.configure(
        NUMBER, voice_url=customer.url("/voice") + "#tt=200", voice_fallback_url=customer.url("/fallback")
    )

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)
    released.set()

    (fallback,) = customer.requests("/fallback")
    assert fallback["ErrorCode"] == "11205"
    assert fallback["ErrorUrl"] == customer.url("/voice")


async def test_a_closed_port_is_tried_twice(carrier: Carrier, customer) -> None:
    """Failed connections alone are retried by default, once, before the fallback."""
    customer.on("/fallback", "<Response/>")
    carrier.configure(NUMBER, voice_url="http://127.0.0.1:9/voice", voice_fallback_url=customer.url("/fallback"))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    attempts = [(w.attempt, w.status) for w in carrier.journal.facts(WebhookSent) if w.purpose == "voice"]
    assert attempts == [(1, None), (2, None)]
    assert customer.requests("/fallback")[0]["ErrorCode"] == "11205"


async def test_without_a_fallback_the_caller_hears_an_apology(carrier: Carrier, customer) -> None:
    """The carrier says that something went wrong, and hangs up."""
    carrier.configure(NUMBER, voice_url=customer.on("/voice", (503, "")))

    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp()])
    status = await call.ended(timeout_s=20)

    assert status is CallStatus.COMPLETED
    assert "application error" in call.heard_texts[0]
    assert sound_ms(call.heard)[1] == 40 * len(call.heard_texts[0].split())


async def test_a_stream_that_cannot_open_is_reported_and_the_document_goes_on(carrier: Carrier, customer) -> None:
    """A query string on the stream URL is 31920: `stream-error` is reported, `action` asked."""
    stream = f'<Stream url="{customer.stream_url()}?token=1" statusCallback="{customer.url("/stream-status")}"/>'
    document = f'<Response><Connect action="/action">{stream}</Connect></Response>'
    customer.on("/action", "<Response/>")
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.settled(timeout_s=20)

    (report,) = customer.requests("/stream-status")
    assert report["StreamEvent"] == "stream-error"
    assert "31920" in report["StreamError"]
    assert datetime.fromisoformat(report["Timestamp"]).tzinfo is not None
    assert len(customer.requests("/action")) == 1
    assert codes(carrier) == [31920]


@pytest.mark.parametrize(("path", "code"), [("/refused", 31920), ("/closed-port", 31902)])
async def test_a_refused_handshake_has_its_code(carrier: Carrier, customer, path: str, code: int) -> None:
    """An answer other than 101 and a closed port are told apart."""
    url = "ws://127.0.0.1:9/" if path == "/closed-port" else customer.stream_url("/refused")
    customer.no_media = True
    document = f'<Response><Connect><Stream url="{url}"/></Connect></Response>'
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.ended(timeout_s=20)

    assert codes(carrier) == [code]


async def test_play_lets_the_caller_hear_a_file_and_keys(carrier: Carrier, customer) -> None:
    """A WAV from the customer and the tones of keys reach the caller's ear."""
    from turncall_phone.wav import write_wav

    body = write_wav(np.full(1600, 5000, np.int16).tobytes())
    customer.on("/tone.wav", web.Response(body=body, content_type="audio/wav"))
    document = "<Response><Play>/tone.wav</Play><Play digits='1'/></Response>"
    carrier.configure(NUMBER, voice_url=customer.on("/voice", document))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await call.ended(timeout_s=20)

    samples = np.frombuffer(call.heard, np.int16)
    assert np.count_nonzero(samples == 5000) == 1600
    assert np.count_nonzero((samples != 0) & (samples != 5000)) > 600


async def test_what_nobody_owns_cannot_be_dialed(carrier: Carrier) -> None:
    """Unknown numbers and numbers without a voice URL are refused before anything rings."""
    with pytest.raises(NotOurNumber):
        await carrier.dial(to="+15559999999", from_=PERSON)
    with pytest.raises(NotOurNumber):
        await carrier.dial(to=NUMBER, from_=PERSON)


async def test_a_caller_who_gives_up_while_it_rings_was_never_answered(carrier: Carrier, customer) -> None:
    """Hanging up before the first document is no-answer, with the request still in flight."""
    hanging = asyncio.Event()

    async def never(_: web.Request) -> web.StreamResponse:
        await hanging.wait()
        return web.Response()

    customer.slow["/voice"] = never
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))

    call = await carrier.dial(to=NUMBER, from_=PERSON)
    await customer.asked_for("/voice")
    call.hang_up()
    await call.settled(timeout_s=2)
    hanging.set()

    assert call.status is CallStatus.NO_ANSWER
    (sent,) = carrier.journal.facts(WebhookSent)
    assert sent.status is None
