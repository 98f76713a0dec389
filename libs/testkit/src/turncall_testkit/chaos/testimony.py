"""What workers wrote down: every fact of every spool file, kept although the workers delete settled files.

A hard link to each file outlives its deletion. So this is what should be in Postgres, whatever died in between, and it
tells a caller what the agent is saying without asking anything that a scenario takes away.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from turncall_bus.epoch_file import SUFFIX, Damaged, EpochFile
from turncall_proto.codec import UnknownEvent, decode_event
from turncall_proto.events import Event
from turncall_proto.ids import CallId

LOOK_EVERY_S: Final = 0.05

Number = tuple[CallId, int, int]
"""A fact's call, epoch and place within the epoch."""


class Testimony:
    """The spools under ``folder`` (one folder for each worker), linked into ``kept`` and read as they grow."""

    __test__ = False

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder = folder
        self._kept = kept
        self._files: dict[tuple[str, str], EpochFile] = {}
        self._authors: dict[Number, str] = {}
        self._forgotten: set[CallId] = set()
        self._listeners: dict[Callable[[Event], None], None] = {}
        self.facts: dict[Number, Event] = {}
        self.contradictions: list[str] = []

    def of(self, call_id: CallId) -> list[Event]:
        """The facts of one call in their order."""
        return [self.facts[number] for number in sorted(self.facts) if number[0] == call_id]

    def author(self, call_id: CallId, epoch: int) -> str | None:
        """The spool's folder, which is the worker's name, in which an epoch was begun."""
        return self._authors.get((call_id, epoch, 1))

    def forget(self, calls: Iterable[CallId]) -> None:
        """Drops what is known of calls, and looks at their files no more."""
        self._forgotten.update(calls)
        for key, file in list(self._files.items()):
            if file.call_id in self._forgotten:
                file.path.unlink(missing_ok=True)
                del self._files[key]
        self.facts = {number: fact for number, fact in self.facts.items() if number[0] not in self._forgotten}
        self._authors = {number: who for number, who in self._authors.items() if number[0] not in self._forgotten}

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Tells ``listener`` each fact as it is read; returns what ends that."""
        self._listeners[listener] = None
        return lambda: self._listeners.pop(listener, None)

    def look(self) -> None:
        """Reads what has been written since the last look."""
        for path in self._folder.glob(f"*/*{SUFFIX}"):
            key = path.parent.name, path.name
            call_id, epoch = path.name.removesuffix(SUFFIX).rsplit(".", 1)
            if key not in self._files and CallId(call_id) not in self._forgotten:
                kept = self._kept / path.parent.name
                kept.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, kept / path.name)
                except FileNotFoundError:
                    continue  # settled between two system calls, and then it was read long ago under another name
                self._files[key] = EpochFile(kept, CallId(call_id), int(epoch))
        for (author, _), file in self._files.items():
            self._read(author, file)

    def _read(self, author: str, file: EpochFile) -> None:
        file.size_bytes = file.path.stat().st_size
        if file.size_bytes <= file.published_bytes:
            return
        try:
            for record in file.unpublished():
                file.published_bytes = record.end
                fact = decode_event(record.data)
                if not isinstance(fact, UnknownEvent):
                    self._take(author, fact)
        except Damaged:
            return  # the last record is being written; a torn one of a killed worker was never stated

    def _take(self, author: str, fact: Event) -> None:
        number = fact.call_id, fact.epoch, fact.seq
        if number in self.facts:
            if self.facts[number] != fact:
                self.contradictions.append(f"{author} and {self._authors[number]} both stated {number}")
            return
        self.facts[number] = fact
        self._authors[number] = author
        for listener in tuple(self._listeners):
            listener(fact)


@asynccontextmanager
async def testimony(folder: Path, kept: Path) -> AsyncIterator[Testimony]:
    """Reads the spools under ``folder`` twenty times a second."""
    made = Testimony(folder, kept)

    async def keep_looking() -> None:
        while True:
            made.look()
            await asyncio.sleep(LOOK_EVERY_S)

    looking = asyncio.create_task(keep_looking(), name="testimony")
    try:
        yield made
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        made.look()
