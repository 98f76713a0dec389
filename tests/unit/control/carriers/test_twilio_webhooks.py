"""Twilio's signature over what it sends, and the documents that answer it."""

import hmac
import random
import string
import xml.etree.ElementTree as ET
from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

import pytest

from turncall_control.carriers import twilio, twiml
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
    assert is_genuine(url, body, signature)


@pytest.mark.parametrize(
    ("caller", "signature"),
    [("+14158675309", "RSOYDt4T1cUTdK1PDd93/VVr8B8="), ("+12349013030", "0/KCTR6DLpKmkAf8muzZqo1nDgQ=")],
)
def test_published_vectors(caller: str, signature: str) -> None:
    """The examples of Twilio's documentation and of its libraries' tests, whose token is 12345."""
    form = {"CallSid": "CA1234567890ABCDE", "Caller": caller, "Digits": "1234", "From": caller, "To": "+18005551212"}
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert is_genuine(url, urlencode(form).encode(), signature, [Secret("12345")])


def test_either_token_of_an_account_is_proof() -> None:
    """While the account's tokens rotate, webhooks signed with one or the other are let in, and with no third."""
    for tokens in ([TOKEN, Secret("next")], [Secret("next"), TOKEN]):
        assert is_genuine(URL, FORM, _signed(FORM), tokens)
    assert not is_genuine(URL, FORM, _signed(FORM), [Secret("next"), Secret("other")])


def test_a_thousand_mutations_are_forgeries() -> None:
    """One character of signature, URL or form changed, left out or doubled: nothing of that is let in."""
    seed = random.Random(20261122)
    signature = _signed(FORM)
    changed = 0
    while changed < 1000:
        parts = [signature, URL, FORM.decode()]
        which = seed.randrange(3)
        parts[which] = mutated(seed, parts[which])
        if parts == [signature, URL, FORM.decode()] or means_the_same(parts[2]):
            continue
        changed += 1
        assert not is_genuine(parts[1], parts[2].encode(), parts[0]), parts


def mutated(seed: random.Random, text: str) -> str:
    """``text`` with one character replaced, left out or doubled, or two neighbours exchanged."""
    at = seed.randrange(len(text) - 1)
    return seed.choice(
        [
            text[:at] + seed.choice(string.printable) + text[at + 1 :],
            text[:at] + text[at + 1 :],
            text[:at] + text[at] + text[at:],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
        ]
    )


def means_the_same(form: str) -> bool:
    """Whether the changed text is another spelling of the very same form, or of one with the same signed text."""
    return form != FORM.decode() and _signed_text(form.encode()) == _signed_text(FORM)


def is_genuine(url: str, body: bytes, signature: str, auth_tokens: Sequence[Secret] = (TOKEN,)) -> bool:
    """Whether a request with this URL, body and signature would be let in."""
    return twilio.is_signed(twilio.form_of(body), url=url, signature=signature, auth_tokens=auth_tokens)


def test_repeated_and_blank_values_are_kept() -> None:
    """Every copy of a name and every blank value is signed, so the form keeps them all."""
    body = b"Digits=2&Digits=1&ToZip=&" + FORM
    form = twilio.form_of(body)
    assert is_genuine(URL, body, _signed(body))
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
    assert not is_genuine(url, body, signature)


def test_nothing_follows_connect() -> None:
    """The document hands the audio over and ends: with an action, later verbs would never run."""
    document = twiml.connect_stream(
        stream_url="wss://m.example/media/c/1/t", action_url="https://v.example/resume?a=1&b=2"
    )
    (connect,) = ET.fromstring(document)
    (stream,) = connect
    assert connect.attrib == {"action": "https://v.example/resume?a=1&b=2", "method": "POST"}
    assert stream.attrib == {"url": "wss://m.example/media/c/1/t"}


def test_a_sentence_is_text_and_not_markup() -> None:
    """What is spoken cannot add verbs."""
    say, hang_up = ET.fromstring(twiml.say_and_hang_up("A <Dial>+1</Dial> & B"))
    assert (say.tag, say.text, hang_up.tag) == ("Say", "A <Dial>+1</Dial> & B", "Hangup")
    assert [verb.tag for verb in ET.fromstring(twiml.hang_up())] == ["Hangup"]


def _signed(body: bytes) -> str:
    """The signature by the rule: URL, then each name in order with each of its values in order."""
    return b64encode(hmac.digest(TOKEN.reveal().encode(), _signed_text(body).encode(), "sha1")).decode()


def _signed_text(body: bytes) -> str:
    pairs = sorted(set(parse_qsl(body.decode(), keep_blank_values=True)))
    return URL + "".join(name + value for name, value in pairs)
