"""The worker's one port: media sockets behind a token, and the pages that operators and probes read."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from msgspec import Struct
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from turncall_media.counters import Counters
from turncall_media.ingress.frames import Frames
from turncall_media.seams import SocketClosed
from turncall_proto import ids
from turncall_proto.ids import CallId
from turncall_proto.stream_token import StreamKey, TokenRefused, check

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""Of one message from a carrier; Twilio's hold some 300 bytes."""
QUEUED_FRAMES: Final = (64, 16)
"""Frames that wait for a slow pipeline before the carrier is held back, and how few let it go on: 1.3 s of audio."""
WRITE_WITHIN_S: Final = 5.0
"""A carrier that leaves the write buffer full (32 KiB, 2 s of audio) for this long has gone."""
PING_EVERY_S: Final = 20.0
OPEN_WITHIN_S: Final = 5.0
"""From the connection to the end of the handshake."""
CLOSE_WITHIN_S: Final = 2.0
"""How long a peer may take to answer our close."""
MAX_STRANGERS: Final = 256
"""Connections that have not shown a valid token yet; one more is cut off."""

Receive = Callable[["CarrierSocket", CallId, int], Awaitable[None]]
"""Serves one admitted socket to its end; closes it."""


class Answer(Struct, frozen=True, kw_only=True):
    """What a page says."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = HTTPStatus.OK


Pages = Mapping[str, Callable[[str], Answer]]
"""Path to page; a page gets the request's ``Accept`` header."""


class Address(Struct, frozen=True, kw_only=True):
    """What the path of a media socket says."""

    call_id: CallId
    epoch: int
    token: str


def address(path: str) -> Address | None:
    """Reads ``/media/{call}/{epoch}/{token}``; None for any other path."""
    match path.split("/"):
        case ["", "media", call_id, epoch, token] if epoch.isascii() and epoch.isdigit() and len(epoch) <= 9:
            try:
                ids.parsed(ids.CALL, call_id)
            except ids.MalformedId:
                return None
            return Address(call_id=CallId(call_id), epoch=int(epoch), token=token)
        case _:
            return None


class CarrierSocket:
    """A `MediaSocket` on a websocket connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def receive(self) -> str:
        """The next text frame. Raises `SocketClosed`, also for a binary frame, which closes with 1003."""
        try:
            frame = await self._connection.recv()
        except ConnectionClosed as error:
            raise SocketClosed(self._connection.close_code or 1006) from error
        if isinstance(frame, str):
            return frame
        await self.close(1003, "text frames only")
        raise SocketClosed(1003)

    async def send(self, text: str) -> None:
        """Writes one text frame. Raises `SocketClosed`, also after `WRITE_WITHIN_S` without room to write."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise SocketClosed(self._connection.close_code or 1006) from error

    async def close(self, code: int, reason: str) -> None:
        """Closes once, and returns when the peer has agreed or `CLOSE_WITHIN_S` has passed."""
        await self._connection.close(code, reason)


class Door:
    """Lets carriers in: checks the token before the upgrade, answers pages, and hands each socket to ``receive``."""

    def __init__(
        self, keys: Sequence[StreamKey], receive: Receive, pages: Pages, counters: Counters, max_strangers: int
    ) -> None:
        self._keys = keys
        self._receive = receive
        self._pages = pages
        self._counters = counters
        self._max_strangers = max_strangers
        self._strangers: set[ServerConnection] = set()

    async def open(self, host: str, port: int) -> Server:
        """Starts to listen. The caller closes the server; its port is ``server.sockets[0].getsockname()[1]``."""
        return await serve(
            self._welcome,
            host,
            port,
            process_request=self._judge,
            create_connection=self._connection_class(),
            compression=None,
            server_header=None,
            open_timeout=OPEN_WITHIN_S,
            ping_interval=PING_EVERY_S,
            ping_timeout=PING_EVERY_S,
            close_timeout=CLOSE_WITHIN_S,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=QUEUED_FRAMES,
            logger=_quiet_logger(),
        )

    def _connection_class(self) -> type[ServerConnection]:
        door = self

        class Connection(ServerConnection):
            """A stranger until its token is accepted or it is gone, and dropped when it lets a write wait too long."""

            _dropping: asyncio.TimerHandle | None = None

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                self._frames = Frames(MAX_MESSAGE_BYTES)
                door._meet(self)

            def data_received(self, data: bytes) -> None:
                if self.protocol.state is not State.OPEN or self._frames.is_lost:
                    super().data_received(self._frames.drain() + data)
                    return
                for is_text, part in self._frames.feed(data):
                    if not is_text:
                        super().data_received(part)
                    elif self.protocol.state is State.OPEN:  # nothing counts behind a close
                        self.recv_messages.put(Frame(Opcode.TEXT, part))

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                door._strangers.discard(self)
                self._let_be()

            def pause_writing(self) -> None:
                # A deadline per frame would be a timer per frame, and 20 us of it: this one is armed by a full buffer.
                super().pause_writing()
                self._dropping = self.loop.call_later(WRITE_WITHIN_S, self.transport.abort)

            def resume_writing(self) -> None:
                super().resume_writing()
                self._let_be()

            def _let_be(self) -> None:
                if self._dropping is not None:
                    self._dropping.cancel()

        return Connection

    def _meet(self, connection: ServerConnection) -> None:
        if len(self._strangers) >= self._max_strangers:
            self._counters.sockets.labels("crowded").inc()
            connection.transport.abort()
        else:
            self._strangers.add(connection)

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """None lets the upgrade go on. Nothing here logs the path: it ends with a token."""
        path = request.path.partition("?")[0]
        if request.method != "GET":
            return _response(Answer(body=b"GET only.\n", status=HTTPStatus.METHOD_NOT_ALLOWED))
        page = self._pages.get(path)
        if page is not None:
            return _response(page(request.headers.get("Accept", "")))
        where = address(path)
        if where is None:
            return _response(Answer(body=b"There is nothing here.\n", status=HTTPStatus.NOT_FOUND))
        try:
            check(self._keys, where.token, where.call_id, where.epoch, time.time())
        except TokenRefused as refusal:
            self._counters.sockets.labels("forbidden").inc()
            return _response(Answer(body=f"The token is {refusal}.\n".encode(), status=HTTPStatus.FORBIDDEN))
        self._strangers.discard(connection)
        return None

    async def _welcome(self, connection: ServerConnection) -> None:
        assert connection.request is not None  # a handler runs after the handshake
        where = address(connection.request.path.partition("?")[0])
        assert where is not None  # judged before
        await self._receive(CarrierSocket(connection), where.call_id, where.epoch)


def _response(answer: Answer) -> Response:
    status = HTTPStatus(answer.status)
    headers = Headers(
        {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body)), "Connection": "close"}
    )
    return Response(status.value, status.phrase, headers, answer.body)


def _quiet_logger() -> logging.Logger:
    """Warnings and up: below that the library writes requests with their paths, and so with tokens."""
    logger = logging.getLogger("turncall_media.websockets")
    logger.setLevel(logging.WARNING)
    return logger
