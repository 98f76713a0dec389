"""Bedrock's streams in both directions: one request of HTTP/2, whose body and answer are streams of events."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import msgspec
from botocore.eventstream import EventStreamBuffer
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from pipecat.utils.errors import ErrorCategory, classify_http_status_code

from turncall_egress.httpx2_transport import trusted
from turncall_media.providers.aws.access import Signer, message
from turncall_media.stages.channels import Gone
from turncall_media.stages.lines import Line

SEND_WITHIN_S: Final = 5.0
"""For the other side to take what it was sent."""
_PIECE: Final = 1 << 16
_KINDS: Final = "application/vnd.amazon.eventstream"
_FAULTS: Final = ("exception", "error")
_MEANT: Final = {
    "accessDeniedException": ErrorCategory.AUTHORIZATION,
    "resourceNotFoundException": ErrorCategory.INVALID_REQUEST,
    "throttlingException": ErrorCategory.RATE_LIMIT,
}


class EventStream:
    """A `Channel` over HTTP/2. One task may listen while others send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, signer: Signer) -> None:
        self._reader = reader
        self._writer = writer
        self._signer = signer
        self._http = H2Connection(H2Configuration(client_side=True))
        self._number = 0
        self._status = 0
        self._refusal = b""
        self._body = EventStreamBuffer()
        self._sending = asyncio.Lock()
        self._room = asyncio.Event()
        self._messages: list[str] = []  # come, and not given to anybody yet
        self._has_spoken = False
        self._is_over = False
        self.goodbye: Sequence[str] = ()
        """Sent before the request ends."""

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        return transport

    def ask(self, url: str) -> None:
        """Begins the request."""
        address = urlsplit(url)
        known = {"Content-Type": _KINDS, "Host": address.netloc}
        signed = self._signer.headers(url, known)
        self._http.initiate_connection()
        self._number = self._http.get_next_available_stream_id()
        self._http.send_headers(
            self._number,
            [
                (":method", "POST"),
                (":scheme", address.scheme),
                (":authority", signed.pop("Host")),
                (":path", address.path),
                *((name.lower(), value) for name, value in signed.items()),
            ],
        )
        self._flush()

    async def confirmed(self, within_s: float) -> None:
        """Waits for the answer's first line. It may keep the server longer to say yes than to say no, so nothing within
        the time is a yes. Raises `Gone` for a refusal."""
        try:
            async with asyncio.timeout(within_s):
                while not self._status:
                    await self._receive()
                while self._refusal_is_coming():
                    await self._receive()
        except TimeoutError:
            return
        self._check()

    async def send(self, message_: str | bytes) -> None:
        """One event. Raises `Gone`."""
        text = message_.encode() if isinstance(message_, str) else message_
        event = message("chunk", msgspec.json.encode({"bytes": b64encode(text).decode()}))
        async with self._sending:
            await self._put(self._signer.signed(event))

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The server's events, as JSON, until it ends its answer. Raises `Gone`."""
        while True:
            while self._messages:
                yield self._messages.pop(0)
            if self._is_over:
                self._check()
                return
            await self._receive()

    async def close(self) -> None:
        """Ends the request and the connection."""
        if not self._is_over:
            try:
                for farewell in self.goodbye:
                    await self.send(farewell)
                async with self._sending:
                    await self._put(self._signer.signed(b""))
                    self._http.end_stream(self._number)
                    self._http.close_connection()
                    self._flush()
            except (Gone, ProtocolError):
                pass  # it is gone already
            self._over()

    async def _put(self, data: bytes) -> None:
        """Sends in pieces, no faster than the server takes them."""
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                while data:
                    size = min(self._window(), self._http.max_outbound_frame_size, len(data))
                    if size:
                        self._http.send_data(self._number, data[:size])
                        self._flush()
                        data = data[size:]
                        await self._writer.drain()
                    else:
                        self._room.clear()
                        await self._room.wait()
        except (ProtocolError, OSError) as error:
            raise Gone(f"the stream is closed: {error}") from error
        except TimeoutError as error:
            self.transport.abort()
            raise Gone("the server takes nothing any more") from error

    def _window(self) -> int:
        if self._is_over:
            raise Gone("the stream has ended")
        return self._http.local_flow_control_window(self._number)

    async def _receive(self) -> None:
        try:
            data = await self._reader.read(_PIECE)
            events = self._http.receive_data(data) if data else None
        except (OSError, ProtocolError) as error:
            self._over()
            raise Gone(str(error) or type(error).__name__) from error
        if events is None:
            self._over()
            raise Gone("the connection was cut")
        for event in events:
            self._take(event)
        self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self._status = int(dict(event.headers or ())[b":status"])
            case DataReceived():
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, self._number)
                self._read(event.data or b"")
            case WindowUpdated():
                self._room.set()
            case StreamEnded():
                self._over()
            case StreamReset() | ConnectionTerminated():
                self._over()
                raise Gone(f"the server has broken off: {event.error_code}", ErrorCategory.SERVER)

    def _read(self, data: bytes) -> None:
        if self._status != httpx2.codes.OK:
            self._refusal += data
            return
        self._body.add_data(data)
        for event in self._body:
            fields = msgspec.json.decode(event.payload, type=dict[str, Any]) if event.payload else {}
            if event.headers.get(":message-type") in _FAULTS:
                kind = event.headers.get(":exception-type") or event.headers.get(":error-code") or "error"
                self._over()
                raise Gone(f"{kind}: {fields.get('message', '')}", self._category(kind))
            if "bytes" in fields:
                self._has_spoken = True
                self._messages.append(b64decode(fields["bytes"]).decode())

    def _category(self, kind: str) -> ErrorCategory:
        """Much is a ``validationException``; before anything else was said it is about what was asked for."""
        if kind == "validationException" and not self._has_spoken:
            return ErrorCategory.INVALID_REQUEST
        return _MEANT.get(kind, ErrorCategory.SERVER)

    def _refusal_is_coming(self) -> bool:
        return self._status != httpx2.codes.OK and not self._is_over

    def _check(self) -> None:
        if self._status not in (0, httpx2.codes.OK):
            said = self._refusal.decode(errors="replace")[:300]
            raise Gone(f"refused with {self._status}: {said}", classify_http_status_code(self._status))

    def _over(self) -> None:
        self._is_over = True
        self._room.set()
        self._writer.close()

    def _flush(self) -> None:
        if data := self._http.data_to_send():
            self._writer.write(data)


async def opened(line: Line, path: str, signer: Signer) -> EventStream:
    """A stream that has been asked for at ``path`` of the line. Raises `OSError`, `TimeoutError`, and what the wall
    raises."""
    address = urlsplit(line.base_url)
    is_safe = address.scheme == "wss"
    port = address.port or (443 if is_safe else 80)

    async def at(checked: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure: dict[str, Any] = {"ssl": trusted("h2"), "server_hostname": address.hostname} if is_safe else {}
        return await asyncio.open_connection(checked or address.hostname, port, **secure)

    stream = EventStream(*await line.dialled(line.base_url, at), signer)
    stream.ask(f"http{line.base_url.removeprefix('ws')}{path}")
    return stream
