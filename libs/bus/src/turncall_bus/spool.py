"""A worker's local record of the facts it states: written to disk first, published after, deleted when settled."""

import asyncio
import fcntl
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import Final

from turncall_bus.backoff import pause_s
from turncall_bus.bus import Bus, BusError
from turncall_bus.epoch_file import SUFFIX, Damaged, DiskFull, EpochFile, Record
from turncall_proto import subjects
from turncall_proto.codec import encode
from turncall_proto.command import SpooledEpoch
from turncall_proto.events import EpochClosed, Event
from turncall_proto.ids import CallId

__all__ = ["DiskFull", "Spool", "SpoolInUse"]

IN_FLIGHT: Final = 200
"""Epochs that publish side by side, one fact each: so an epoch's facts are stored in order."""
FIRST_PAUSE_S: Final = 0.05
MOST_PAUSE_S: Final = 2.0

_log = logging.getLogger(__name__)


class SpoolInUse(Exception):
    """Another process writes to this folder; each worker process needs its own."""


class Spool:
    """One folder of append-only files, one file per call and epoch, and one task that publishes from them in order.

    It is used from one event loop. Memory holds a few numbers per epoch; facts are read back from the files. What an
    earlier process left is adopted and published again from its beginning: message ids and consumers make that
    harmless. Raises `SpoolInUse`.
    """

    def __init__(self, folder: Path, bus: Bus, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._folder = folder
        self._bus = bus
        self._sleep = sleep
        folder.mkdir(parents=True, exist_ok=True)
        self._lock: int | None = _locked(folder)
        self._files: dict[tuple[CallId, int], EpochFile] = {}
        self._ready: dict[EpochFile, None] = {}
        self._publishing: set[EpochFile] = set()
        self._work = asyncio.Event()
        self._progress = asyncio.Event()
        self._is_stuck = False
        for path in sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns):
            file = EpochFile.adopt(path)
            if file is not None:
                self._files[file.call_id, file.epoch] = file
                self._wake(file)

    @property
    def unpublished_bytes(self) -> int:
        """How much of what the disk holds was not acknowledged by NATS."""
        return sum(file.size_bytes - file.published_bytes for file in self._files.values())

    def append(self, event: Event) -> None:
        """Writes the fact to its epoch's file and lets the publisher know. Never waits for the network.

        Takes microseconds. Raises `DiskFull`, and `turncall_proto.codec.TooLarge` over 256 KiB; then the fact is not
        in the file, and its number is free. Raises `ValueError` when the number does not follow the epoch's last.
        """
        key = event.call_id, event.epoch
        file = self._files.get(key)
        if file is None:
            file = EpochFile(self._folder, *key)
        elif event.seq != file.last_seq + 1:
            raise ValueError(f"fact {event.seq} of {event.call_id} epoch {event.epoch} follows {file.last_seq}")
        file.append(event.seq, encode(event))
        self._files[key] = file
        if isinstance(event, EpochClosed):
            file.close()
        self._wake(file)

    def epochs(self) -> list[SpooledEpoch]:
        """What the disk holds, adopted files of earlier processes included."""
        return [
            SpooledEpoch(call_id=file.call_id, epoch=file.epoch, last_seq=file.last_seq)
            for file in self._files.values()
        ]

    def settle(self, epochs: Iterable[SpooledEpoch]) -> None:
        """Deletes files that control says are safe; a file that has grown since is kept."""
        for settled in epochs:
            key = settled.call_id, settled.epoch
            file = self._files.get(key)
            if file is not None and file.last_seq == settled.last_seq:
                del self._files[key]
                self._ready.pop(file, None)
                file.remove()
        self._progress.set()

    def again(self, call_id: CallId, epoch: int, seqs: Iterable[int]) -> None:
        """Publishes the named facts once more, under new message ids; what the disk does not hold is left out."""
        file = self._files.get((call_id, epoch))
        if file is not None:
            file.wanted_again.update(seqs)
            self._wake(file)

    async def run(self) -> None:
        """Publishes until cancelled, 200 in flight at most, with a jittered back-off while the bus is away."""
        async with asyncio.TaskGroup() as publishers:
            while True:
                while self._ready and len(self._publishing) < IN_FLIGHT:
                    file = next(iter(self._ready))
                    del self._ready[file]
                    self._publishing.add(file)
                    publishers.create_task(self._publish(file), name=f"publish {file.path.name}")
                self._work.clear()
                await self._work.wait()

    async def flush(self, timeout_s: float) -> bool:
        """Waits until everything appended so far is acknowledged; False when the time ran out."""
        targets = {file: file.size_bytes for file in self._files.values() if file.has_work}
        try:
            async with asyncio.timeout(timeout_s):
                while any(_is_short_of(file, target) for file, target in targets.items()):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Lets go of the files and the folder, and keeps what they hold. Call it after `run` has ended."""
        for file in self._files.values():
            file.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _wake(self, file: EpochFile) -> None:
        if file not in self._publishing:
            self._ready[file] = None
            self._work.set()

    async def _publish(self, file: EpochFile) -> None:
        """Publishes one epoch in order until nothing is left of it."""
        try:
            while file.has_work:
                try:
                    await self._publish_new(file)
                    await self._publish_again(file)
                except Damaged as damage:
                    _log.error("spool: the rest of %s cannot be read: %s", file.path.name, damage)
                    file.published_bytes = file.size_bytes
                    file.wanted_again.clear()
                    self._progress.set()
        finally:
            self._publishing.discard(file)
            self._work.set()

    async def _publish_new(self, file: EpochFile) -> None:
        with closing(file.unpublished()) as records:
            for record in records:
                heading = record.heading
                await self._store(file, record, subjects.message_id(heading.call_id, heading.epoch, heading.seq))
                file.published_bytes = record.end
                self._progress.set()

    async def _publish_again(self, file: EpochFile) -> None:
        if not file.wanted_again:
            return
        wanted = frozenset(file.wanted_again)
        with closing(file.written()) as records:
            for record in records:
                heading = record.heading
                if heading.seq in wanted:
                    message_id = subjects.message_id(heading.call_id, heading.epoch, heading.seq)
                    # The stream remembers the first id for two minutes and would swallow the repeat.
                    await self._store(file, record, f"{message_id}.again.{token_hex(4)}")
        file.wanted_again -= wanted
        self._progress.set()

    async def _store(self, file: EpochFile, record: Record, message_id: str) -> None:
        """Returns when the stream has the fact, or when its file was settled meanwhile."""
        subject = subjects.call(record.heading.project_id, record.heading.call_id, "event")
        failures = 0
        while not file.is_removed:
            try:
                await self._bus.publish(subject, record.data, message_id=message_id)
            except BusError as error:
                failures += 1
                if not self._is_stuck:
                    _log.warning("spool: facts wait on disk: %s", error)
                self._is_stuck = True
                await self._sleep(pause_s(failures, first_s=FIRST_PAUSE_S, most_s=MOST_PAUSE_S))
            else:
                if self._is_stuck:
                    _log.info("spool: facts flow again, %d bytes to go", self.unpublished_bytes)
                self._is_stuck = False
                return


def _is_short_of(file: EpochFile, target: int) -> bool:
    return not file.is_removed and (file.published_bytes < target or bool(file.wanted_again))


def _locked(folder: Path) -> int:
    """The descriptor that holds the folder's lock; the system lets go of it when the process dies."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SpoolInUse(f"another process writes to {folder}; give each worker process a folder of its own") from error
    return descriptor
