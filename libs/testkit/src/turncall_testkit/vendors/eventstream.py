"""AWS's event stream: messages with headers, lengths and checksums, written and read; and the signatures of its
streams, made here from nothing but their description."""

import hmac
import struct
from binascii import crc32
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

_STRING = 7
"""The event stream's type of a header."""
_BYTES = 6
_TIME = 8


class Message(NamedTuple):
    """One message. A header is text, bytes, or a time in ms."""

    headers: dict[str, Any]
    payload: bytes
    date_header: bytes
    """The header ``:date`` as it was sent."""


def framed(kind: str, name: str, fields: dict[str, Any]) -> bytes:
    """One message: lengths, checksum, headers, JSON, checksum."""
    said = {":message-type": kind, f":{kind}-type": name, ":content-type": "application/json"}
    headers = b"".join(
        struct.pack("!B", len(key)) + key.encode() + struct.pack("!BH", _STRING, len(value)) + value.encode()
        for key, value in said.items()
    )
    payload = msgspec.json.encode(fields)
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return message + struct.pack("!I", crc32(message))


def taken(buffer: bytearray) -> Iterator[Message]:
    """The whole messages at the beginning of ``buffer``, which loses them. Raises `ValueError` for a wrong checksum."""
    while len(buffer) >= 12 and len(buffer) >= (size := struct.unpack_from("!I", buffer)[0]):
        whole = bytes(buffer[:size])
        del buffer[:size]
        yield parsed(whole)


def parsed(whole: bytes) -> Message:
    """One message. Raises `ValueError` for a wrong checksum."""
    size, headers_size, lengths_sum = struct.unpack_from("!III", whole)
    if lengths_sum != crc32(whole[:8]) or struct.unpack_from("!I", whole, size - 4)[0] != crc32(whole[: size - 4]):
        raise ValueError("a checksum is wrong")
    headers: dict[str, Any] = {}
    date_header, place, end = b"", 12, 12 + headers_size
    while place < end:
        start, name_end = place, place + 1 + whole[place]
        name, kind = whole[place + 1 : name_end].decode(), whole[name_end]
        place = name_end + 1
        if kind == _TIME:
            (headers[name],) = struct.unpack_from("!q", whole, place)
            place += 8
            date_header = whole[start:place]
            continue
        (length,) = struct.unpack_from("!H", whole, place)
        value = whole[place + 2 : place + 2 + length]
        headers[name] = value if kind == _BYTES else value.decode()
        place += 2 + length
    return Message(headers, whole[end : size - 4], date_header)


class Signatures:
    """Those of one stream, in their order, for whoever knows the ``secret``. ``headers`` are the request's."""

    def __init__(self, secret: str, headers: dict[str, str], path: str) -> None:
        said = dict(part.strip().split("=", 1) for part in headers["authorization"].partition(" ")[2].split(","))
        _, day, region, service, _ = said["Credential"].split("/")
        self._scope = f"{day}/{region}/{service}/aws4_request"
        self._key = b"AWS4" + secret.encode()
        for part in self._scope.split("/"):
            self._key = self._sign(part)
        names = said["SignedHeaders"].split(";")
        canonical = [
            "POST",
            quote(path, safe="/~"),
            "",
            *(f"{name}:{headers[name].strip()}" for name in names),
            "",
            ";".join(names),
            headers["x-amz-content-sha256"],
        ]
        digest = sha256("\n".join(canonical).encode()).hexdigest()
        made = self._sign("\n".join(("AWS4-HMAC-SHA256", headers["x-amz-date"], self._scope, digest)))
        self.is_right = made.hex() == said["Signature"]
        self._day = day
        self._last = said["Signature"]

    def check(self, message: Message) -> bool:
        """Whether the next message is signed."""
        at_s = message.headers[":date"] / 1000
        stamp = _stamp(at_s)
        text = (
            "AWS4-HMAC-SHA256-PAYLOAD",
            stamp,
            self._scope.replace(self._day, stamp[:8]),
            self._last,
            sha256(message.date_header).hexdigest(),
            sha256(message.payload).hexdigest(),
        )
        made = self._sign("\n".join(text))
        self._last = made.hex()
        return hmac.compare_digest(made, message.headers[":chunk-signature"])

    def _sign(self, text: str) -> bytes:
        return hmac.new(self._key, text.encode(), sha256).digest()


def _stamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
