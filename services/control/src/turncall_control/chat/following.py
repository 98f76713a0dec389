"""Waiting for an answer: its words as they come, then the message as it was stored."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from turncall_control.chat import repository
from turncall_control.chat.model import MessageRow, SessionRow, SessionState
from turncall_control.chat.views import message_view
from turncall_control.db.engine import in_project
from turncall_control.plane import Plane
from turncall_proto import subjects
from turncall_proto.ids import ProjectId, SessionId
from turncall_proto.live import TextDelta

ANSWER_WITHIN_S: Final = 60.0
"""A request waits no longer; the answer is in the session's messages when it comes."""
LOOK_AGAIN_S: Final = 2.0
WAITING_NEWS: Final = 1000


class Following:
    """What comes after a message of a session. Enter it before the message is written, so that nothing is missed."""

    def __init__(self, plane: Plane, project_id: ProjectId, session_id: SessionId) -> None:
        self._plane = plane
        self._project_id = project_id
        self._session_id = session_id
        self._news: asyncio.Queue[bytes] = asyncio.Queue(WAITING_NEWS)

    async def __aenter__(self) -> "Following":
        self._subscription = await self._plane.bus.hear(subjects.live(self._project_id, self._session_id), self._heard)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._subscription.close()

    async def _heard(self, _: str, data: bytes) -> None:
        if not self._news.full():
            self._news.put_nowait(data)

    async def outcome(self, seq: int) -> tuple[MessageRow | None, SessionRow]:
        """The agent's answer to message ``seq``, None when there is none in time, or will be none; and the session."""
        async for _ in self._until_settled(seq):
            pass
        return await self._looked(seq)

    async def events(self, seq: int) -> AsyncIterator[bytes]:
        """The answer as server-sent events: ``message.delta`` as it is written, then ``message``, or ``no_answer``."""
        async for delta in self._until_settled(seq):
            yield b"event: message.delta\ndata: " + msgspec.json.encode({"text": delta.text}) + b"\n\n"
        reply, row = await self._looked(seq)
        if reply is not None:
            yield b"event: message\ndata: " + msgspec.json.encode(message_view(reply)) + b"\n\n"
        else:
            why = {"is_taken_over": row.is_taken_over, "state": row.state}
            yield b"event: no_answer\ndata: " + msgspec.json.encode(why) + b"\n\n"

    async def _until_settled(self, seq: int) -> AsyncIterator[TextDelta]:
        """Words of the answer, until it is stored, cannot come, or took too long."""
        clock = asyncio.get_running_loop().time
        until_s = clock() + ANSWER_WITHIN_S
        while clock() < until_s:
            if await self._is_settled(seq):
                return
            look_s = min(until_s, clock() + LOOK_AGAIN_S)
            while (left_s := look_s - clock()) > 0:
                try:
                    async with asyncio.timeout(left_s):
                        data = await self._news.get()
                except TimeoutError:
                    break
                if b'"message.delta"' not in data:
                    break  # something was stored
                delta = msgspec.json.decode(data, type=TextDelta)
                if delta.through >= seq:
                    yield delta

    async def _is_settled(self, seq: int) -> bool:
        reply, row = await self._looked(seq)
        if reply is not None or row.is_taken_over or row.state != SessionState.ACTIVE:
            return True
        async with in_project(self._plane.database, self._project_id) as session:
            asked = await repository.messages(session, row, after=seq - 1, limit=1)
        return bool(asked and asked[0].failure)

    async def _looked(self, seq: int) -> tuple[MessageRow | None, SessionRow]:
        async with in_project(self._plane.database, self._project_id) as session:
            row = await repository.get(session, self._project_id, self._session_id)
            later = await repository.messages(session, row, after=seq)
        return next((message for message in later if (message.answers or 0) >= seq), None), row
