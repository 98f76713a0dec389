"""An aiohttp application on a free port of loopback, whose stalled answers end with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Final, Protocol

from aiohttp import web

from turncall_testkit.vendors.manners import Asked, Kind, Manners
from turncall_testkit.vendors.replies import Replies, Reply, Transcripts

UNKNOWN: Final = "nobody"
"""The voice, or the model, that no fake knows."""
LARGEST_REQUEST: Final = 64 * 1024 * 1024


class Stalls:
    """Answers that never come: they wait here until the server closes."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()

    async def stall(self) -> None:
        """Returns when the server closes."""
        await self._closing.wait()

    def release(self) -> None:
        """Ends every stall."""
        self._closing.set()


@asynccontextmanager
async def serving(app: web.Application, stalls: Stalls) -> AsyncIterator[str]:
    """The address of ``app`` while it runs: ``127.0.0.1:port``."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        stalls.release()
        await runner.cleanup()


def cut(request: web.Request) -> None:
    """Takes the connection away, in the middle of whatever it carries."""
    if request.transport is not None:
        request.transport.abort()


class Desk:
    """What every fake has: its manners, what it was asked, and what it answers. Answers with ``replies`` and hears
    ``transcripts``, each in turn, the last one ever after; speaks a tone of ``tone_hz`` for ``speech_s``. Takes any
    key, or only ``key`` if given."""

    PATH: ClassVar[str] = ""
    """Of the URL that its vendor is given."""

    def __init__(
        self,
        *,
        replies: Sequence[Reply] = (Reply(text="Hello there. How can I help you?"),),
        transcripts: Sequence[str] = ("book a table for two",),
        tone_hz: float = 440.0,
        speech_s: float = 1.0,
        key: str = "",
    ) -> None:
        self.base_url = ""
        self.manners = Manners()
        self.journal: list[Asked] = []
        self.stalls = Stalls()
        self.replies = Replies(replies)
        self.transcripts = Transcripts(transcripts)
        self.tone_hz = tone_hz
        self.speech_s = speech_s
        self._key = key

    def options(self, kind: Kind) -> dict[str, Any]:
        """The least options that lead its vendor's ``kind`` here, with a short timeout."""
        return {"base_url": self.base_url, "timeout_ms": 500}

    def received(self, path: str, key: str, fields: Mapping[str, Any], audio: bytes = b"") -> int:
        """Notes a request. The HTTP status that it is refused with, or 0."""
        self.journal.append(Asked(name=path, key=key, fields=fields, audio=audio))
        if self.manners.fault == "refuse_key" or not key or (self._key and key != self._key):
            return 401
        return 500 if self.manners.fault == "fail" else 0

    async def stream(
        self, request: web.Request, content_type: str, pieces: Sequence[bytes], broken: bytes
    ) -> web.StreamResponse:
        """The pieces in a chunked answer; a fault comes after half of them. ``broken`` is an error in the protocol's
        words; empty when it has none for the middle of an answer."""
        manners = self.manners
        if manners.fault == "stall":
            await self.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        answer = web.StreamResponse(headers={"Content-Type": content_type})
        await answer.prepare(request)
        faulty = manners.fault in ("break", "cut")
        for piece in pieces[: len(pieces) // 2] if faulty else pieces:
            await answer.write(piece)
            await asyncio.sleep(manners.pace_s)
        if manners.fault == "break" and broken:
            await answer.write(broken)
        elif faulty:
            cut(request)
        else:
            await answer.write_eof()
        return answer

    async def answer(
        self, request: web.Request, socket: web.WebSocketResponse, pieces: Sequence[bytes | dict[str, Any]]
    ) -> None:
        """The pieces on a socket; a fault comes after half of them."""
        manners = self.manners
        if manners.fault == "stall":
            await self.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        faulty = manners.fault in ("break", "cut")
        for piece in pieces[: len(pieces) // 2] if faulty else pieces:
            await (socket.send_bytes(piece) if isinstance(piece, bytes) else socket.send_json(piece))
            await asyncio.sleep(manners.pace_s)
        if manners.fault == "break":
            await socket.close(code=1011, message=b"internal error")
        elif manners.fault == "cut":
            cut(request)


class Site(Protocol):
    """A fake that is asked over HTTP/1.1."""

    PATH: ClassVar[str]
    base_url: str
    stalls: Stalls

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        ...


def opened[**P, D: Site](make: Callable[P, D]) -> Callable[P, AbstractAsyncContextManager[D]]:
    """How a fake is started: ``async with start(**answers) as fake``, on loopback meanwhile."""

    @asynccontextmanager
    async def start(*args: P.args, **answers: P.kwargs) -> AsyncIterator[D]:
        desk = make(*args, **answers)
        app = web.Application(client_max_size=LARGEST_REQUEST)
        app.add_routes(desk.routes())
        async with serving(app, desk.stalls) as address:
            desk.base_url = f"http://{address}{desk.PATH}"
            yield desk

    return start
