"""What must not reach a log or a trace."""

from typing import Annotated

import pytest
from msgspec import Struct

from turncall_proto.marks import PERSONAL, PhoneNumber, Speech
from turncall_runtime.privacy import Redactor
from turncall_runtime.secret import Secret

REDACTOR = Redactor()


@pytest.mark.parametrize(
    "text",
    [
        "+14155550100",
        "call to +1 415 555 0100 failed",
        "+44 (20) 7946-0958",
        "tel:+4930123456",
        "sip:4930123456@carrier.example",
        "(415) 555-0100",
        "415-555-0100",
        "415.555.0100",
        "number=4155550100",
        "'4915112345678' is busy",
    ],
)
def test_phone_numbers_are_hidden(text: str) -> None:
    """However a number is written, its digits are gone."""
    shown = REDACTOR.text(text)

    assert not [part for part in ("5550100", "555", "0100", "0958", "3456") if part in shown]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T19:04:01.123Z",
        "1732300000123",
        "1732300000",
        "call_0192f0a4b7c87e5f9a3c1d2e3f405162",
        "019312ab-0000-7000-8000-123456789012",
        "10.20.30.40:5432",
        "took 12.345678901234 s",
        "CA00112233445566778899aabbccddeeff",
        "sequence 42 of 1000000",
    ],
)
def test_what_only_looks_like_a_number_is_kept(text: str) -> None:
    """Times, ids, addresses and measures stay readable."""
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://api:hunter2hunter2@db:5432/x", "hunter2hunter2"),
        ("Authorization: Bearer abcdefghijkl", "abcdefghijkl"),
        ("key tc_live_0123456789abcdef", "0123456789abcdef"),
        ("key sk-proj-0123456789", "0123456789"),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZjAx", "MDEyMzQ1Njc4OWFiY2RlZjAx"),
        ("https://x.example/a?token=abc123&b=1", "abc123"),
        ("wss://h/media/call_1/1/QUJDREVGR0hJSktMTU5PUFFSU1RVVldY", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIiOiIxIn0"),
    ],
)
def test_secrets_that_show_themselves_are_hidden(text: str, secret: str) -> None:
    """Keys, tokens and passwords are known by where they stand or how they begin."""
    assert secret not in REDACTOR.text(text)
    assert "***" in REDACTOR.text(text)


def test_own_secrets_are_hidden_wherever_they_stand() -> None:
    """A key of unknown form is hidden because the configuration holds it; also each part of a list of keys."""
    redactor = Redactor([Secret("dg0123456789"), Secret("k1:firstfirst,k2:secondsecond"), Secret("dev")])

    assert redactor.text("vendor said: bad key dg0123456789!") == "vendor said: bad key ***!"
    assert "secondsecond" not in redactor.text("tried k2:secondsecond")
    assert redactor.text("a device") == "a device"


@pytest.mark.parametrize(
    "name", ["transcript", "from_number", "Authorization", "api_key", "X-Platform-Key", "auth_token", "digits", "text"]
)
def test_private_fields_are_hidden_whole(name: str) -> None:
    """A field's name is enough to hide what it holds, of whatever type."""
    assert REDACTOR.field(name, "anything") == "***"
    assert REDACTOR.field(name, {"a": ["b"]}) == "***"
    assert REDACTOR.field(name, None) is None


class _Leg(Struct, frozen=True):
    caller_id: PhoneNumber
    said: Speech | None
    place: Annotated[str, PERSONAL]
    slots: int


def test_marked_fields_of_the_contract_are_dropped() -> None:
    """What the schema marks as personal is not in the log at all, at any depth."""
    leg = _Leg("anonymous", "hello", "Berlin", 3)

    assert REDACTOR.field("legs", [leg]) == [{"slots": 3}]


def test_nested_values_are_cleaned() -> None:
    """Mappings and lists are cleaned inside, by name and by value; bytes are never shown."""
    value = {"plan": {"text": "hello", "note": "+14155550100", "count": 2}, "audio": b"\x00"}

    assert REDACTOR.field("data", value) == {"plan": {"text": "***", "note": "<number>", "count": 2}, "audio": "***"}


def test_depth_is_bounded() -> None:
    """A value that contains itself ends."""
    endless: list[object] = []
    endless.append(endless)

    assert "***" in str(REDACTOR.field("data", endless))
