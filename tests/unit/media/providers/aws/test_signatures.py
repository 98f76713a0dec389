"""Signatures of Bedrock's streams, to the byte as AWS's own signer (aws-sdk-signers 0.4.0) makes them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import auth

from turncall_media.errors import VendorUnusable
from turncall_media.providers.aws.access import Signer, credentials, message

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
URL = (
    "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-2-sonic-v1%3A0/invoke-with-bidirectional-stream"
)
REQUEST = "826019d50119bbb13d54d36db1616d1b526b47948808ef9351da1f0e96a07fb3"
EVENT = bytes.fromhex(
    "000000be0000004325007936053a64617465080000019b7ca98f2e103a6368756e6b2d7369676e617475726506002070d62dca2352839c96e9"
    "54c28bce665b9c126f33488c61e12c6c3629d55c36eb0000006b0000004b6ace012d0d3a6d6573736167652d747970650700056576656e740b"
    "3a6576656e742d747970650700056368756e6b0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b22627974"
    "6573223a2261476b3d227d5a67f517ae7926b1"
)
LAST = bytes.fromhex(
    "0000005300000043f5447a58053a64617465080000019b7ca98f2e103a6368756e6b2d7369676e617475726506002073fa9307a6ac9cae5557"
    "c4a72dcd231cfd77c7adb15c6eafb86355c95ac25ed0183adf6c"
)


def test_the_request_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the headers, with what is to follow named in the place of a digest."""

    def now(remove_tzinfo: bool = True) -> datetime:
        return AT.replace(tzinfo=None) if remove_tzinfo else AT

    monkeypatch.setattr(auth, "get_current_datetime", now)
    signer = Signer(credentials("AKID:SECRET"), "us-east-1")
    headers = signer.headers(URL, {"Content-Type": "application/vnd.amazon.eventstream"})
    assert headers["Authorization"].endswith(f"Signature={REQUEST}")
    assert "/20260102/us-east-1/bedrock/aws4_request" in headers["Authorization"]


def test_each_message_is_signed_over_the_one_before() -> None:
    """A message holds the event; the last one is empty."""
    signer: Any = Signer(credentials("AKID:SECRET"), "us-east-1")
    signer._last = "00" * 32
    assert signer.signed(message("chunk", b'{"bytes":"aGk="}'), AT) == EVENT
    assert signer.signed(b"", AT) == LAST


def test_an_access_key_has_two_parts_or_three() -> None:
    """The third is a session's token; anything else is refused with what to write."""
    assert credentials("a:b").token is None
    assert credentials("a:b:c").token == "c"
    for wrong in ("ABSKxyz", "a:", ":b", "a:b:c:d"):
        with pytest.raises(VendorUnusable, match="id:secret"):
            credentials(wrong)
