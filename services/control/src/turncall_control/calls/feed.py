"""One follower's view of a call: what is stored first, then everything new as it is stored, to the end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec import Struct

from turncall_control.calls import repository
from turncall_control.db.engine import in_project
from turncall_control.plane import Plane
from turncall_proto import subjects
from turncall_proto.events import PUBLIC_TAGS
from turncall_proto.ids import CallId, ProjectId

LOOK_AGAIN_S: Final = 5.0
"""A quiet feed reads the table this often, in case news were lost; it also shows proxies that the line lives."""
PAGE: Final = 500
WAITING_NEWS: Final = 1000
_LAST_WORD: Final = "call.ended"


class _News(Struct, frozen=True, kw_only=True):
    """The head of a message on a call's live subject; without a ``call_seq`` it is passing talk, stored nowhere."""

    type: str
    call_seq: int | None = None


class Feed:
    """The facts of a call behind ``after``, as server-sent events."""

    def __init__(self, plane: Plane, project_id: ProjectId, call_id: CallId, *, after: int, has_internal: bool) -> None:
        self._plane = plane
        self._project_id = project_id
        self._call_id = call_id
        self._last = after
        self._has_internal = has_internal
        self._is_over = False
        self._news: asyncio.Queue[bytes] = asyncio.Queue(WAITING_NEWS)

    async def events(self) -> AsyncIterator[bytes]:
        """Each event's id is its ``call_seq``: no gap, no duplicate; partial transcripts without an id in between.

        Ends after ``call.ended``, or at once when the call is over and nothing is left to say.
        """
        subject = subjects.live(self._project_id, self._call_id)
        subscription = await self._plane.bus.hear(subject, self._hear)
        try:
            while not self._is_over:
                async for event in self._stored():
                    yield event
                async for event in self._live():
                    yield event
        finally:
            await subscription.close()

    async def _stored(self) -> AsyncIterator[bytes]:
        """What the table holds behind the last event."""
        is_more = True
        while is_more and not self._is_over:
            async with in_project(self._plane.database, self._project_id) as session:
                call = await repository.get(session, self._project_id, self._call_id)
                facts = await repository.facts(
                    session, self._project_id, self._call_id, after=self._last, limit=PAGE, has_internal=True
                )
            is_more = len(facts) == PAGE
            for fact in facts:
                if not self._is_over and (event := self._take(fact.call_seq, fact.type, msgspec.json.encode(fact))):
                    yield event
            if call.concluded_at is not None and not is_more:
                self._is_over = True

    async def _live(self) -> AsyncIterator[bytes]:
        """What is told, until it is quiet for a while, something was missed, or the call is over."""
        while not self._is_over:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
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
        self._is_over = tag == _LAST_WORD
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
