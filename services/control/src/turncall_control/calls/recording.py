"""A call's recording as one WAV file, put together from its parts while it is read."""

import re
import struct
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from turncall_blobs import BlobStore
from turncall_proto.events import RecordingPart, RecordingReady

WAV_HEADER_BYTES: Final = 44
"""RIFF, ``fmt `` with 16 bytes, ``data``: the head of every part and of the whole."""
BYTES_PER_FRAME: Final = 4
"""One sample of each side."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class MixedRates(Exception):
    """Parts with different sample rates make no single file."""


class Unsatisfiable(Exception):
    """The range lies outside the file."""


class Recording(Struct, frozen=True, kw_only=True):
    """Parts in time order, stereo s16le (caller left, agent right), at one rate."""

    rate_hz: int
    parts: tuple[RecordingPart, ...]

    @property
    def size_bytes(self) -> int:
        """Of the whole file, header included."""
        return WAV_HEADER_BYTES + self.audio_bytes

    @property
    def audio_bytes(self) -> int:
        """Of the sound in all parts."""
        return sum(part.size_bytes - WAV_HEADER_BYTES for part in self.parts)

    @property
    def etag(self) -> str:
        """Changes when a part is added."""
        return '"' + sha256("\n".join(part.key for part in self.parts).encode()).hexdigest()[:32] + '"'


def assembled(ready: Sequence[RecordingReady]) -> Recording | None:
    """One recording out of those of all epochs, which follow each other; None without any part. Raises `MixedRates`.

    What a worker said of its own epoch counts more than what was found of it; of that, the newest.
    """
    of_epochs = {fact.of_epoch or fact.epoch: fact for fact in sorted(ready, key=lambda fact: (fact.epoch, fact.seq))}
    in_order = [of_epochs[epoch] for epoch in sorted(of_epochs)]
    parts = tuple(part for fact in in_order for part in fact.parts if part.size_bytes > WAV_HEADER_BYTES)
    rates = {fact.rate_hz for fact in in_order if fact.parts}
    if len(rates) > 1:
        raise MixedRates(f"the call was recorded at {sorted(rates)} Hz; its parts can only be read one by one")
    return Recording(rate_hz=rates.pop(), parts=parts) if parts else None


def rate_of(header: bytes) -> int | None:
    """The sample rate that the head of a part states; None when it is no such head."""
    if len(header) < WAV_HEADER_BYTES or header[:4] != b"RIFF":
        return None
    return int.from_bytes(header[24:28], "little") or None


def byte_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """The bytes asked for as ``[start, end)``; None for the whole file. Raises `Unsatisfiable`.

    One range is served; several, other units and malformed ones count as no range at all (RFC 9110, 14.2).
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes or start == end:
        raise Unsatisfiable(f"the recording has {size_bytes} bytes")
    return start, end


async def stream(blobs: BlobStore, recording: Recording, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes ``[start, end)`` of the file, piece by piece. Raises `BlobError`."""
    header = _header(recording)
    if start < WAV_HEADER_BYTES:
        yield header[start:end]
    at = WAV_HEADER_BYTES
    for part in recording.parts:
        length = part.size_bytes - WAV_HEADER_BYTES
        skip, stop = max(0, start - at), min(length, end - at)
        if skip < stop:
            async for piece in blobs.stream(part.key, WAV_HEADER_BYTES + skip, WAV_HEADER_BYTES + stop):
                yield piece
        at += length


def first_key(recording: Recording, start: int) -> str:
    """The part that a reader from ``start`` on needs first."""
    at = WAV_HEADER_BYTES
    for part in recording.parts:
        at += part.size_bytes - WAV_HEADER_BYTES
        if start < at:
            return part.key
    return recording.parts[-1].key


def _header(recording: Recording) -> bytes:
    riff = struct.pack("<4sI4s", b"RIFF", WAV_HEADER_BYTES - 8 + recording.audio_bytes, b"WAVE")
    bytes_per_s = recording.rate_hz * BYTES_PER_FRAME
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, recording.rate_hz, bytes_per_s, BYTES_PER_FRAME, 16)
    return riff + form + struct.pack("<4sI", b"data", recording.audio_bytes)
