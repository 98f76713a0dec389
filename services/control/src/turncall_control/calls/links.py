"""Links that open without a key, to a recording or to a session: what, and until when, in one signed path segment.

Layout before base64url: expiry (uint32, seconds since 1970), the object's UUID, the project's UUID, HMAC-SHA256 over
these cut to 16 bytes. The keys are derived, one for each kind, so that no table holds links and none opens another
kind of object; a dropped pepper ends those that it made.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

from turncall_control.errors import Forbidden
from turncall_runtime.secret import Secret

_SIGNED_BYTES: Final = 4 + 16 + 16
_TAG_BYTES: Final = 16


class LinkRefused(Forbidden):
    """The link is not ours, was changed, or has expired; which of these is not said."""

    name, title = "link-refused", "The link does not open"


RECORDING: Final = b"links to recordings"
SESSION: Final = b"links to sessions"
"""What the key of each kind is derived by."""


def mint(pepper: Secret, kind: bytes, project: UUID, opens: UUID, until_s: float) -> str:
    """A segment that opens this object until ``until_s``, seconds since 1970."""
    signed = int(until_s).to_bytes(4, "big") + opens.bytes + project.bytes
    return urlsafe_b64encode(signed + _tag(pepper, kind, signed)).rstrip(b"=").decode()


def opened(peppers: Sequence[Secret], kind: bytes, segment: str, now_s: float) -> tuple[UUID, UUID]:
    """Whose project's which object the segment opens at ``now_s``. Raises `LinkRefused`."""
    try:
        data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError as error:
        raise LinkRefused from error
    signed, tag = data[:_SIGNED_BYTES], data[_SIGNED_BYTES:]
    is_ours = len(tag) == _TAG_BYTES and any(hmac.compare_digest(tag, _tag(pepper, kind, signed)) for pepper in peppers)
    if not is_ours or int.from_bytes(signed[:4], "big") < now_s:
        raise LinkRefused
    return UUID(bytes=signed[20:]), UUID(bytes=signed[4:20])


def _tag(pepper: Secret, kind: bytes, signed: bytes) -> bytes:
    key = hmac.digest(pepper.reveal().encode(), kind, sha256)
    return hmac.digest(key, signed, sha256)[:_TAG_BYTES]
