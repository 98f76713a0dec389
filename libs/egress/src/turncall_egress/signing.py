"""Signing of webhooks by Standard Webhooks 1.0, symmetric scheme v1 (standardwebhooks.com)."""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from hashlib import sha256
from secrets import token_bytes
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
SHORTEST_SECRET_BYTES: Final = 24
LONGEST_SECRET_BYTES: Final = 64
"""The specification's bounds for a secret."""

TOLERANCE_S: Final = 300
"""How far a timestamp may be from the receiver's clock, either way; what the reference libraries use."""


class SignatureRefused(Exception):
    """A message is unsigned, altered, too old, or signed with another secret."""


def new_secret() -> str:
    """A random secret in the form that users paste: ``whsec_`` and base64."""
    return PREFIX + b64encode(token_bytes(SECRET_BYTES)).decode()


def signed_headers(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers for ``body``, one signature for each secret: while secrets rotate, either one verifies.

    ``message_id`` is the same in every attempt and holds no dot, ``timestamp_s`` (Unix time) is that of the attempt.
    Raises `ValueError` for a malformed secret or id.
    """
    if not message_id or "." in message_id:
        raise ValueError("a webhook's id is not empty and holds no dot")
    signatures = (_signature(secret, message_id, str(timestamp_s), body) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now_s: float) -> None:
    """Returns when ``body`` was signed with one of ``secrets`` within `TOLERANCE_S` of ``now_s``.

    ``headers`` has lower-case names. Raises `SignatureRefused`, and `ValueError` for a malformed secret.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split()
    if not message_id or not given or not (timestamp.isascii() and timestamp.isdigit()):
        raise SignatureRefused("a header is missing or malformed")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise SignatureRefused(f"the timestamp is more than {TOLERANCE_S} s away")
    wanted = [_signature(secret, message_id, timestamp, body).encode() for secret in secrets]
    # Every pair is compared, so that time tells nothing about which one came close.
    matches = [hmac.compare_digest(one, other.encode()) for one in wanted for other in given]
    if not any(matches):
        raise SignatureRefused("no signature fits")


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(_key(secret), signed, sha256)).decode()


def _key(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except Base64Error as error:
        raise ValueError("a webhook secret is whsec_ and base64") from error
    if not SHORTEST_SECRET_BYTES <= len(key) <= LONGEST_SECRET_BYTES:
        raise ValueError(f"a webhook secret has {SHORTEST_SECRET_BYTES} to {LONGEST_SECRET_BYTES} bytes")
    return key
