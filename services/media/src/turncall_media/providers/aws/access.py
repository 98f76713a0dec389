"""What requests are signed with: an access key, by AWS's signature version 4, and its chain for streams of events.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html has the idea; that of event streams is the one of
AWS's own SDKs: each message holds the one that is meant, and a signature over it and over the signature before.
"""

import struct
from binascii import crc32
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from turncall_media.errors import VendorUnusable

SERVICE: Final = "bedrock"
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_BYTES, _STRING, _TIME = 6, 7, 8
"""Types of a header."""


def credentials(key: str) -> Credentials:
    """The access key of ``id:secret`` or ``id:secret:session token``. Raises `VendorUnusable` for anything else."""
    parts = key.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise VendorUnusable(
            "vendor aws needs an access key for speech, as id:secret or id:secret:token; "
            "Bedrock API keys open no streams"
        )
    return Credentials(*parts)


def authority(key: str, region: str) -> Callable[[str, bytes], dict[str, str]]:
    """What says who asks, for a POST of a URL and its JSON: the signature of an access key, or a Bedrock API key."""
    if ":" not in key:
        return lambda *_: {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    auth = SigV4Auth(credentials(key), SERVICE, region)

    def signed(url: str, content: bytes) -> dict[str, str]:
        request = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=content)
        auth.add_auth(request)
        return dict(request.headers.items())

    return signed


class Signer:
    """Signs one request that opens a stream, and then each message of it, in their order."""

    def __init__(self, key: Credentials, region: str) -> None:
        self._auth = SigV4Auth(key, SERVICE, region)
        self._last = ""

    def headers(self, url: str, known: dict[str, str]) -> dict[str, str]:
        """The headers of a POST to ``url``, the ``known`` among them, with the signature over it."""
        request = AWSRequest(
            "POST", url, headers={**known, "X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-EVENTS"}
        )
        self._auth.add_auth(request)
        self._last = request.headers["Authorization"].rpartition("=")[2]
        return dict(request.headers.items())

    def signed(self, payload: bytes, at: datetime | None = None) -> bytes:
        """A message that holds ``payload``, which is a message itself, or empty for the last one."""
        at = at or datetime.now(UTC)
        request = AWSRequest()
        request.context["timestamp"] = at.strftime(_STAMP)
        date = _header(":date", _TIME, struct.pack("!q", int(at.timestamp() * 1000)))
        text = "\n".join(
            (
                "AWS4-HMAC-SHA256-PAYLOAD",
                request.context["timestamp"],
                self._auth.credential_scope(request),
                self._last,
                sha256(date).hexdigest(),
                sha256(payload).hexdigest(),
            )
        )
        self._last = self._auth.signature(text, request)
        return _framed(date + _header(":chunk-signature", _BYTES, bytes.fromhex(self._last)), payload)


def message(kind: str, payload: bytes) -> bytes:
    """An event of that type, of JSON."""
    said = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    return _framed(b"".join(_header(name, _STRING, value.encode()) for name, value in said.items()), payload)


def _header(name: str, kind: int, value: bytes) -> bytes:
    length = b"" if kind == _TIME else struct.pack("!H", len(value))
    return struct.pack("!B", len(name)) + name.encode() + struct.pack("!B", kind) + length + value


def _framed(headers: bytes, payload: bytes) -> bytes:
    """Lengths, their checksum, headers, payload, and the checksum of it all."""
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    framed = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return framed + struct.pack("!I", crc32(framed))
