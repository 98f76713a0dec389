"""Links to a recording that open without a key: who may listen to what, and until when, in one signed path segment.

Layout before base64url: expiry (uint32, seconds since 1970), the call's UUID, the project's UUID, HMAC-SHA256 over
these cut to 16 bytes. The key is derived, so that no table holds links; a dropped pepper ends those that it made.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

from turncall_control.errors import Forbidden
from turncall_proto import ids
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime.secret import Secret

_SIGNED_BYTES: Final = 4 + 16 + 16
_TAG_BYTES: Final = 16


class LinkRefused(Forbidden):
    """The link is not ours, was changed, or has expired; which of these is not said."""

    name, title = "link-refused", "The link does not open"


def mint(pepper: Secret, project_id: ProjectId, call_id: CallId, until_s: float) -> str:
    """A segment that opens this call's recording until ``until_s``, seconds since 1970."""
    signed = int(until_s).to_bytes(4, "big")
    signed += ids.parsed(ids.CALL, call_id).bytes + ids.parsed(ids.PROJECT, project_id).bytes
    return urlsafe_b64encode(signed + _tag(pepper, signed)).rstrip(b"=").decode()


def opened(peppers: Sequence[Secret], segment: str, now_s: float) -> tuple[ProjectId, CallId]:
    """Whose recording of which call the segment opens at ``now_s``. Raises `LinkRefused`."""
    try:
        data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError as error:
        raise LinkRefused from error
    signed, tag = data[:_SIGNED_BYTES], data[_SIGNED_BYTES:]
    is_ours = len(tag) == _TAG_BYTES and any(hmac.compare_digest(tag, _tag(pepper, signed)) for pepper in peppers)
    if not is_ours or int.from_bytes(signed[:4], "big") < now_s:
        raise LinkRefused
    call, project = UUID(bytes=signed[4:20]), UUID(bytes=signed[20:])
    return ProjectId(ids.written(ids.PROJECT, project)), CallId(ids.written(ids.CALL, call))


def _tag(pepper: Secret, signed: bytes) -> bytes:
    key = hmac.digest(pepper.reveal().encode(), b"links to recordings", sha256)
    return hmac.digest(key, signed, sha256)[:_TAG_BYTES]
