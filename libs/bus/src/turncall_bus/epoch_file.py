"""One epoch's facts on disk: an append-only file of records, each a length, a CRC-32 and the fact's JSON.

Writes go straight to the operating system and are not synced: they survive the death of the process, which is what a
worker has to fear. A sync takes milliseconds on the thread that carries live audio, and buys only the case that the
whole machine dies while NATS, which has the fact milliseconds later, is away.
"""

import errno
import logging
import os
from collections.abc import Generator
from pathlib import Path
from struct import Struct as Layout
from typing import Final
from zlib import crc32

import msgspec

from turncall_proto.ids import CallId, ProjectId

SUFFIX: Final = ".spool"
READ_BYTES: Final = 64 * 1024
"""Read from the disk at once."""
_HEAD: Final = Layout("<II")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log = logging.getLogger(__name__)


class DiskFull(Exception):
    """The fact was not written: there is no room in the spool's folder. Nothing of it stays in the file."""


class Damaged(Exception):
    """A record does not match its checksum; what follows it cannot be read."""


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What the spool has to know of a fact."""

    call_id: CallId
    project_id: ProjectId
    epoch: int
    seq: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One fact as it lies in the file; the next one begins at ``end``."""

    heading: Heading
    data: bytes
    end: int


_headings: Final = msgspec.json.Decoder(Heading)


class EpochFile:
    """The file of one call and epoch. ``size_bytes`` is written, ``published_bytes`` of it are acknowledged."""

    def __init__(self, folder: Path, call_id: CallId, epoch: int) -> None:
        self.call_id = call_id
        self.epoch = epoch
        self.path = folder / f"{call_id}.{epoch}{SUFFIX}"
        self.size_bytes = 0
        self.published_bytes = 0
        self.last_seq = 0
        self.wanted_again: set[int] = set()
        self.is_removed = False
        self._descriptor: int | None = None

    @classmethod
    def adopt(cls, path: Path) -> "EpochFile | None":
        """The file that an earlier process left, cut behind its last whole record; None when it holds none."""
        call_id, epoch = path.name.removesuffix(SUFFIX).rsplit(".", 1)
        file = cls(path.parent, CallId(call_id), int(epoch))
        found_bytes = path.stat().st_size
        try:
            for record in file._records(0, found_bytes):
                file.size_bytes, file.last_seq = record.end, record.heading.seq
        except Damaged as damage:
            _log.warning("spool: %s is cut from %d to %d bytes: %s", path.name, found_bytes, file.size_bytes, damage)
            os.truncate(path, file.size_bytes)
        if file.size_bytes == 0:
            path.unlink()
            return None
        return file

    @property
    def has_work(self) -> bool:
        """Whether something is left to publish."""
        return not self.is_removed and (self.published_bytes < self.size_bytes or bool(self.wanted_again))

    def append(self, seq: int, data: bytes) -> None:
        """Writes one record: a few microseconds. Raises `DiskFull`, or the `OSError` of a broken disk."""
        record = _HEAD.pack(len(data), crc32(data)) + data
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.write(self._descriptor, record) < len(record):
                raise OSError(errno.ENOSPC, "short write")
        except OSError as error:
            self._cut()
            if error.errno in _NO_ROOM:
                raise DiskFull(f"no room for {len(record)} bytes in {self.path.parent}") from error
            raise
        self.size_bytes += len(record)
        self.last_seq = seq

    def _cut(self) -> None:
        """Takes back what a failed write left."""
        if self.size_bytes == 0:
            self.remove()
        elif self._descriptor is not None:
            os.ftruncate(self._descriptor, self.size_bytes)

    def unpublished(self) -> Generator[Record]:
        """What is written and not acknowledged, in order. Raises `Damaged`."""
        return self._records(self.published_bytes, self.size_bytes)

    def written(self) -> Generator[Record]:
        """Every record from the first on. Raises `Damaged`."""
        return self._records(0, self.size_bytes)

    def _records(self, begin: int, end: int) -> Generator[Record]:
        with self.path.open("rb", buffering=READ_BYTES) as file:
            file.seek(begin)
            while begin < end:
                head = file.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    raise Damaged(f"a torn record at byte {begin}")
                length, checksum = _HEAD.unpack(head)
                if begin + _HEAD.size + length > end:
                    raise Damaged(f"a torn record at byte {begin}")
                data = file.read(length)
                if len(data) < length or crc32(data) != checksum:
                    raise Damaged(f"a wrong checksum at byte {begin}")
                try:
                    heading = _headings.decode(data)
                except msgspec.DecodeError as error:
                    raise Damaged(f"no fact at byte {begin}") from error
                begin += _HEAD.size + length
                yield Record(heading=heading, data=data, end=begin)

    def close(self) -> None:
        """Lets go of the file; the next append opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Deletes the file."""
        self.close()
        self.is_removed = True
        self.path.unlink(missing_ok=True)
