"""The last segment of a media socket's URL: who may speak for a call and epoch, and until when.

One path segment, because Twilio strips query strings from stream URLs. It is valid for any worker: a call belongs to an
epoch, not to a process. Layout before base64url: expiry (uint32, seconds since 1970), key id (8 bytes, zero padded),
HMAC-SHA256 over both with call and epoch, cut to 16 bytes.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import sha256

from msgspec import Struct

from turncall_proto.ids import CallId

LIFETIME_S = 60
"""How long a minted token opens a socket."""


class StreamKey(Struct, frozen=True, kw_only=True):
    """A named secret; two live at a time while they rotate. ``key_id`` has 8 ASCII characters at most."""

    key_id: str
    secret: bytes

    def __post_init__(self) -> None:
        if not 1 <= len(self.key_id.encode()) <= 8 or len(self.secret) < 16:
            raise ValueError("a stream key needs an id of 1 to 8 characters and a secret of at least 16 bytes")


class TokenRefused(Exception):
    """The token is malformed, expired or not ours."""


def parse_keys(text: str) -> tuple[StreamKey, ...]:
    """Keys from ``id:secret,id:secret``, the minting one first. Raises `ValueError`."""
    pairs = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    if not pairs:
        raise ValueError("at least one stream key is needed, as id:secret")
    return tuple(StreamKey(key_id=key_id, secret=secret.encode()) for key_id, _, secret in pairs)


def _tag(key: StreamKey, head: bytes, call_id: CallId, epoch: int) -> bytes:
    return hmac.digest(key.secret, head + f"media|{call_id}|{epoch}".encode(), sha256)[:16]


def mint(keys: Sequence[StreamKey], call_id: CallId, epoch: int, now_s: float) -> str:
    """A token for this call and epoch that lives `LIFETIME_S` from ``now_s`` (seconds since 1970)."""
    key = keys[0]
    head = int(now_s + LIFETIME_S).to_bytes(4, "big") + key.key_id.encode().ljust(8, b"\0")
    return urlsafe_b64encode(head + _tag(key, head, call_id, epoch)).rstrip(b"=").decode()


def check(keys: Sequence[StreamKey], token: str, call_id: CallId, epoch: int, now_s: float) -> None:
    """Returns when the token opens this call and epoch at ``now_s``; raises `TokenRefused` otherwise."""
    try:
        data = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (Base64Error, ValueError) as error:
        raise TokenRefused("malformed") from error
    # Base64 is read leniently: without this, other spellings of the same bytes would open the socket too.
    if len(data) != 28 or urlsafe_b64encode(data).rstrip(b"=").decode() != token:
        raise TokenRefused("malformed")
    head, tag = data[:12], data[12:]
    key_id = head[4:].rstrip(b"\0")
    for key in keys:
        if key.key_id.encode() == key_id and hmac.compare_digest(tag, _tag(key, head, call_id, epoch)):
            if int.from_bytes(head[:4], "big") < now_s:
                raise TokenRefused("expired")
            return
    raise TokenRefused("not signed by a live key")
