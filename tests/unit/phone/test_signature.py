"""Signatures against vectors made with the vendor's own library."""

import pytest
from twilio.request_validator import RequestValidator

from turncall_phone.signature import sign, voice_url

TOKEN = "turncall-test-token"
FORM = (
    ("CallSid", "CA00000000000000000000000000000abc"),
    ("From", "+15550001111"),
    ("To", "+15550002222"),
    ("CallStatus", "ringing"),
    ("Direction", "inbound"),
    ("ApiVersion", "2010-04-01"),
    ("AccountSid", "AC00000000000000000000000000000abc"),
)
JSON_HASH = "5bda634c8f390e9e9c1ec954896b5f72b51dce9f183dc79c0dd43ead0c5ae02a"


@pytest.mark.parametrize(
    ("url", "form", "signature"),
    [
        ("https://turncall.example/twilio/voice", FORM, "CLNl4LQsVYVeskR+QlQuHKI7R5U="),
        ("https://turncall.example/twilio/voice?tenant=7", FORM, "+OeMS0D8H7XlGNP9qmFiO2GByJw="),
        ("https://turncall.example:8443/twilio/voice", FORM, "fpM5giMPq8wNdDvEYWBzY4Tr6bo="),
        (
            "https://turncall.example/twilio/voice?CallSid=CAabc&From=%2B15550001111",
            (),
            "xt/Uwg0qjiFKyVSeggeX2yfZNXk=",
        ),
        ("wss://turncall.example/media", (), "G5+my7zcEQjWom84LShOmEX9Q58="),
        ("wss://turncall.example/media/", (), "2Ef142uT7prkfc9e1Yo6Y0IywKU="),
        (
            "https://turncall.example/sms",
            (("Body", " héllo ✓ "), ("NumMedia", "0"), ("FromCity", "")),
            "gFZepO7rEwqqKazrfPvn8fe13KA=",
        ),
        (
            "https://turncall.example/x",
            (("A", "2"), ("B", "4"), ("a", "3"), ("b", "1")),
            "eCu0N0BwqVcpnZPc11Qx0TNjJ54=",
        ),
        (f"https://turncall.example/json?bodySHA256={JSON_HASH}", (), "JdF42BDq7SedrN0/i89IS4rcjjs="),
    ],
)
def test_known_requests_get_their_known_signatures(url: str, form: tuple[tuple[str, str], ...], signature: str) -> None:
    """The signature of each published vector is reproduced to the letter."""
    assert sign(TOKEN, url, form) == signature


@pytest.mark.parametrize(
    ("asked", "signed"),
    [
        ("https://user:pw@turncall.example:8443/voice?a=1#rc=2", "https://turncall.example/voice?a=1"),
        ("http://user:pw@turncall.example:8080/voice", "http://turncall.example:8080/voice"),
        ("https://[::1]:8443/voice", "https://[::1]/voice"),
        ("https://[::1]/voice", "https://[::1]/voice"),
    ],
)
def test_voice_webhooks_sign_without_user_info_and_without_https_ports(asked: str, signed: str) -> None:
    """User info and fragment never count; a port counts over http only."""
    assert voice_url(asked) == signed


@pytest.mark.parametrize("url", ["https://turncall.example:8443/voice", "http://turncall.example:8080/voice"])
def test_the_vendors_validator_accepts_signed_voice_urls(url: str) -> None:
    """The official validator, given the URL as the server sees it, accepts the form."""
    signature = sign(TOKEN, voice_url(url), FORM)

    assert RequestValidator(TOKEN).validate(url, dict(FORM), signature)


@pytest.mark.parametrize("url", ["wss://turncall.example/media/1", "ws://127.0.0.1:8100/media/1"])
def test_the_vendors_validator_accepts_signed_stream_urls(url: str) -> None:
    """A media socket's URL is signed as the TwiML gave it, without parameters."""
    assert RequestValidator(TOKEN).validate(url, {}, sign(TOKEN, url))


def test_a_repeated_name_counts_each_value_once() -> None:
    """Two equal values of one name sign as one, as the vendor's library does."""
    once = sign(TOKEN, "https://turncall.example/x", (("A", "2"), ("A", "1")))

    assert sign(TOKEN, "https://turncall.example/x", (("A", "1"), ("A", "2"), ("A", "1"))) == once
