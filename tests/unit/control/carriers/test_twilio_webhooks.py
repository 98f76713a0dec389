"""Twilio's signature over what it sends, and the documents that answer it."""

import hmac
import xml.etree.ElementTree as ET
from base64 import b64encode
from urllib.parse import parse_qsl, urlencode

import pytest

from turncall_control.carriers import twilio
from turncall_control.carriers.twilio import Forged
from turncall_runtime.secret import Secret

TOKEN = Secret("turncall-test-token")
URL = "https://turncall.example/twilio/voice"
FORM = urlencode(
    {
        "CallSid": "CA00000000000000000000000000000abc",
        "From": "+15550001111",
        "To": "+15550002222",
        "CallStatus": "ringing",
        "Direction": "inbound",
        "ApiVersion": "2010-04-01",
        "AccountSid": "AC00000000000000000000000000000abc",
    }
).encode()
TEXT = urlencode({"Body": " héllo ✓ ", "NumMedia": "0", "FromCity": ""}).encode()


@pytest.mark.parametrize(
    ("url", "body", "signature"),
    [
        (URL, FORM, "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        ("https://turncall.example:443/twilio/voice", FORM, "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        (URL + "?tenant=7", FORM, "+OeMS0D8H7XlGNP9qmFiO2GByJw="),
        ("https://turncall.example:8443/twilio/voice", FORM, "fpM5giMPq8wNdDvEYWBzY4Tr6bo="),
        ("https://turncall.example/sms", TEXT, "gFZepO7rEwqqKazrfPvn8fe13KA="),
        ("https://turncall.example/x", b"A=2&B=4&a=3&b=1", "eCu0N0BwqVcpnZPc11Qx0TNjJ54="),
    ],
)
def test_genuine_requests_are_let_in(url: str, body: bytes, signature: str) -> None:
    """Known signatures hold, with the port or without, over blanks, spaces, UTF-8 and letters of either case."""
    assert twilio.authenticated_form(url=url, body=body, signature=signature, auth_token=TOKEN)


def test_repeated_and_blank_values_are_kept() -> None:
    """Every copy of a name and every blank value is signed, so the form keeps them all."""
    body = b"Digits=2&Digits=1&ToZip=&" + FORM
    form = twilio.authenticated_form(url=URL, body=body, signature=_signed(body), auth_token=TOKEN)
    assert (form.getall("Digits"), form["ToZip"]) == (["2", "1"], "")


@pytest.mark.parametrize(
    ("url", "body", "signature"),
    [
        (URL, FORM, ""),
        (URL, FORM, "CLNl4LQsVYVeskR+QlQuHKI7R5V="),
        (URL + "/", FORM, "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        (URL.replace("https", "http"), FORM, "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        (URL, FORM + b"&To=%2B1", "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        (URL, b"\xff\xfe\x00 not a form &&&===%%%", "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        (URL, b'{"json": true}', "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        (URL + "?bodySHA256=" + "0" * 64, b"{}", "AAAA"),
        (URL, FORM, "ünïcödé"),
    ],
)
def test_everything_else_is_a_forgery(url: str, body: bytes, signature: str) -> None:
    """Another URL, another form, no signature and plain garbage are refused in the same way."""
    with pytest.raises(Forged):
        twilio.authenticated_form(url=url, body=body, signature=signature, auth_token=TOKEN)


def test_nothing_follows_connect() -> None:
    """The document hands the audio over and ends: with an action, later verbs would never run."""
    document = twilio.connect_stream(
        stream_url="wss://m.example/media/c/1/t", action_url="https://v.example/resume?a=1&b=2"
    )
    (connect,) = ET.fromstring(document)
    (stream,) = connect
    assert connect.attrib == {"action": "https://v.example/resume?a=1&b=2", "method": "POST"}
    assert stream.attrib == {"url": "wss://m.example/media/c/1/t"}


def test_a_sentence_is_text_and_not_markup() -> None:
    """What is spoken cannot add verbs."""
    say, hang_up = ET.fromstring(twilio.say_and_hang_up("A <Dial>+1</Dial> & B"))
    assert (say.tag, say.text, hang_up.tag) == ("Say", "A <Dial>+1</Dial> & B", "Hangup")
    assert [verb.tag for verb in ET.fromstring(twilio.hang_up())] == ["Hangup"]


def _signed(body: bytes) -> str:
    """The signature by the rule: URL, then each name in order with each of its values in order."""

    pairs = sorted(set(parse_qsl(body.decode(), keep_blank_values=True)))
    text = URL + "".join(name + value for name, value in pairs)
    return b64encode(hmac.digest(TOKEN.reveal().encode(), text.encode(), "sha1")).decode()
