"""What a number's addresses at the carrier say."""

import pytest

from turncall_control.carriers.base import CarrierNumber, NumberUrls
from turncall_control.numbers.check import addresses, public_address

OURS = NumberUrls(
    voice_url="https://a.example/v", voice_fallback_url="https://a.example/f", status_url="https://a.example/s"
)


def number(**more: object) -> CarrierNumber:
    """A number that points at us, but for ``more``."""
    known = {"voice_url": OURS.voice_url, "voice_fallback_url": OURS.voice_fallback_url, "status_url": OURS.status_url}
    fixed = {"sid": "PN1", "e164": "+15550100000", "label": "", "can_voice": True, "can_sms": True}
    return CarrierNumber(**{**fixed, **known, **more})  # type: ignore[arg-type]


def faults(found: CarrierNumber) -> list[str]:
    """The checks that failed."""
    return [finding.check for finding in addresses(found, OURS) if not finding.is_ok]


def test_a_number_that_points_at_us_is_well() -> None:
    """Nothing to do."""
    assert faults(number()) == []
    assert all(not finding.what_to_do for finding in addresses(number(), OURS))


@pytest.mark.parametrize("name", ["voice_url", "voice_fallback_url", "status_url"])
def test_each_address_counts(name: str) -> None:
    """An address of somebody else is the one fault, and something can be done about it."""
    (fault,) = (finding for finding in addresses(number(**{name: "https://b.example"}), OURS) if not finding.is_ok)
    assert fault.check == name
    assert fault.what_to_do


def test_a_trunk_takes_the_calls_away() -> None:
    """A number whose addresses are right and unused would not work."""
    assert faults(number(is_diverted=True)) == ["not_diverted"]


@pytest.mark.parametrize(
    ("url", "is_production", "is_ok"),
    [
        ("https://voice.example.com", True, True),
        ("http://voice.example.com", True, False),
        ("https://127.0.0.1:8080", True, False),
        ("http://127.0.0.1:8080", False, True),
    ],
)
def test_a_carrier_reaches_public_addresses(url: str, is_production: bool, is_ok: bool) -> None:
    """In production that is https somewhere else; the emulator reaches a developer's machine."""
    assert public_address(url, is_production=is_production).is_ok is is_ok
