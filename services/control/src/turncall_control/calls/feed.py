"""One follower's view of a call: what is stored first, then everything new as it is stored, to the end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec import Struct

from turncall_control.auth import Caller
from turncall_control.calls import repository
from turncall_control.db.engine import in_project
from turncall_control.errors import NotFound
from turncall_control.plane import Plane
from turncall_proto import subjects
from turncall_proto.events import PUBLIC_TAGS
from turncall_proto.ids import CallId

LOOK_AGAIN_S: Final = 4.0
"""How often a feed asks whether its key still opens, and reads the table, in case news were lost."""
PAGE: Final = 500
WAITING_NEWS: Final = 1000
_LAST_WORD: Final = "call.ended"


class _News(Struct, frozen=True, kw_only=True):
    """The head of a message on a call's live subject; without a ``call_seq`` it is passing talk, stored nowhere."""

    type: str
    call_seq: int | None = None


class Feed:
    """The facts of a call behind ``after``, as server-sent events to whoever holds the caller's key."""

    def __init__(self, plane: Plane, caller: Caller, call_id: CallId, *, after: int, has_internal: bool) -> None:
        self._plane = plane
        self._key_id = caller.key_id
        self._project_id = caller.project_id
        self._call_id = call_id
        self._last = after
        self._has_internal = has_internal
        self._is_over = False
        self._news: asyncio.Queue[bytes] = asyncio.Queue(WAITING_NEWS)

    async def events(self) -> AsyncIterator[bytes]:
        """Each event's id is its ``call_seq``: no gap, no duplicate; partial transcripts without an id in between.

        Ends after ``call.ended`` and what is stored behind it by then, when the call is erased, and when the key is
        revoked or expires.
        """
        subject = subjects.live(self._project_id, self._call_id)
        subscription = await self._plane.bus.hear(subject, self._hear)
        try:
            while not self._is_over and await self._plane.keyring.still_opens(self._key_id):
                async for event in self._stored():
                    yield event
                async for event in self._live():
                    yield event
        finally:
            await subscription.close()

    async def _stored(self) -> AsyncIterator[bytes]:
        """What the table holds behind the last event."""
        is_more = True
        while is_more:
            async with in_project(self._plane.database, self._project_id) as session:
                try:
                    call = await repository.get(session, self._project_id, self._call_id)
                except NotFound:
                    self._is_over = True
                    return
                facts = await repository.facts(
                    session, self._project_id, self._call_id, after=self._last, limit=PAGE, has_internal=True
                )
            is_more = len(facts) == PAGE
            for fact in facts:
                if event := self._take(fact.call_seq, fact.type, msgspec.json.encode(fact)):
                    yield event
            self._is_over = call.concluded_at is not None and not is_more

    async def _live(self) -> AsyncIterator[bytes]:
        """What is told, for a while, until something was missed, or until the call is over."""
        look_again_s = asyncio.get_running_loop().time() + LOOK_AGAIN_S
        while not self._is_over:
            try:
                async with asyncio.timeout_at(look_again_s):
                    data = await self._news.get()
            except TimeoutError:
                yield b": \n\n"
                return
            news = msgspec.json.decode(data, type=_News)
            if news.call_seq is None:
                yield _event(news.type, data)
            elif news.call_seq > self._last + 1:
                return
            elif news.call_seq > self._last and (event := self._take(news.call_seq, news.type, data)):
                yield event

    def _take(self, call_seq: int, tag: str, data: bytes) -> bytes | None:
        """Counts a fact; its event, unless it is one that this follower does not see."""
        self._last = call_seq
        self._is_over = self._is_over or tag == _LAST_WORD
        is_shown = self._has_internal or tag in PUBLIC_TAGS
        return _event(tag, data, call_seq) if is_shown else None

    async def _hear(self, _: str, data: bytes) -> None:
        """Keeps news for the reader; what a slow reader cannot take is read from the table later."""
        if not self._news.full():
            self._news.put_nowait(data)


def _event(tag: str, data: bytes, call_seq: int | None = None) -> bytes:
    """One event of the ``text/event-stream`` format; JSON holds no line break."""
    head = b"" if call_seq is None else b"id: %d\n" % call_seq
    return head + b"event: " + tag.encode() + b"\ndata: " + data + b"\n\n"
