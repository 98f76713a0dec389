"""Twilio Media Streams: JSON text frames, base64 mu-law at 8 kHz, both ways.

https://www.twilio.com/docs/voice/media-streams/websocket-messages. Numbers inside ``media`` are strings; a mark comes
back when it was played, when nothing was queued, or when the queue was cleared.
"""

import asyncio
from binascii import b2a_base64
from contextlib import suppress
from typing import Annotated, Any, Final

from msgspec import DecodeError, Meta, Struct, field
from msgspec.json import Decoder, encode

from turncall_media.audio import mulaw
from turncall_media.audio.sound import TELEPHONE
from turncall_media.errors import WireError
from turncall_media.seams import MediaSocket, SocketClosed
from turncall_media.wire.stream import (
    CallerAudio,
    KeyPressed,
    MarkReturned,
    StreamStart,
    StreamStopped,
    WireEvent,
)

FIRST_MESSAGE_WITHIN_S: Final = 5.0
"""From the handshake to the carrier's start message."""
BABBLE_LIMIT: Final = 50
"""So many senseless frames in a row, a second's worth, are not a carrier."""


class _Message(Struct, frozen=True, tag_field="event", rename="camel"):
    pass


class _Connected(_Message, frozen=True, tag="connected"):
    pass


class _Format(Struct, frozen=True, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int


class _StartBody(Struct, frozen=True, rename="camel"):
    account_sid: str
    call_sid: str
    stream_sid: str
    media_format: _Format
    custom_parameters: dict[str, str] = field(default_factory=dict)


class _Start(_Message, frozen=True, tag="start"):
    start: _StartBody


class _MediaBody(Struct, frozen=True):
    timestamp: Annotated[int, Meta(ge=0)]
    payload: bytes


class _Media(_Message, frozen=True, tag="media"):
    stream_sid: str
    media: _MediaBody


class _DtmfBody(Struct, frozen=True):
    digit: Annotated[str, Meta(pattern=r"^[0-9A-D*#]$(?!\n)")]


class _Dtmf(_Message, frozen=True, tag="dtmf"):
    stream_sid: str
    dtmf: _DtmfBody


class _MarkBody(Struct, frozen=True):
    name: str


class _Mark(_Message, frozen=True, tag="mark"):
    stream_sid: str
    mark: _MarkBody


class _Stop(_Message, frozen=True, tag="stop"):
    stream_sid: str


_Any = _Connected | _Start | _Media | _Dtmf | _Mark | _Stop
_BYTES_PER_MS: Final = 8
_EXPECTED: Final = _Format(encoding="audio/x-mulaw", sample_rate=8000, channels=1)


class _Heads:
    """What stands before the one part of a message that changes; a template costs a third of an encoder."""

    def __init__(self, stream_id: str) -> None:
        sid = encode(stream_id).decode()
        self.media = f'{{"event":"media","streamSid":{sid},"media":{{"payload":"'
        self.mark = f'{{"event":"mark","streamSid":{sid},"mark":{{"name":'
        self.clear = f'{{"event":"clear","streamSid":{sid}}}'


class TwilioWire:
    """One bidirectional stream of one call. `open` comes first; then reading and writing may go on side by side."""

    sound = TELEPHONE
    page = None
    is_fixed = False

    def __init__(self, socket: MediaSocket) -> None:
        self._socket = socket
        self._decode: Decoder[Any] = Decoder(_Any, strict=False)  # numbers arrive as strings
        self._stream_id = ""
        self._heads = _Heads("")
        self._babble = 0
        self._mark_prefix = ""
        self._heard_ms = 0  # how far the stream's audio has been read, and when that was
        self._heard_at_s = 0.0
        self._began_ms = 0  # where on the stream's clock the conversation on it began
        self.garbage_frames = 0
        self.opened_at_s = 0.0

    async def open(self, timeout_s: float = FIRST_MESSAGE_WITHIN_S) -> StreamStart:
        """Waits for ``connected`` and ``start``. Raises `WireError` when they do not come in time or make no sense."""
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._next()
                while not isinstance(message, _Start):
                    if not isinstance(message, _Connected):
                        raise WireError("the stream sent audio before its start message")
                    message = await self._next()
        except TimeoutError as late:
            raise WireError(f"no start message within {timeout_s:g} s") from late
        except SocketClosed as closed:
            raise WireError(f"the socket closed with {closed.code} before a start message") from closed
        start = message.start
        if start.media_format != _EXPECTED:
            raise WireError(f"the stream speaks {start.media_format}, not mu-law at 8 kHz")
        self.opened_at_s = asyncio.get_running_loop().time()
        self._stream_id = start.stream_sid
        self._heads = _Heads(start.stream_sid)
        return StreamStart(provider_call_id=start.call_sid)

    def begin_again(self) -> None:
        """Another conversation takes the stream from here on: times count from here, and marks that the one before
        still awaited come back without a name."""
        self._mark_prefix = f"{self._heard_ms}."
        self._began_ms = self._heard_ms
        self.opened_at_s = self._heard_at_s or self.opened_at_s

    async def see_off(self, timeout_s: float) -> None:
        """Closing first would raise an alert in the user's account (Twilio 31921)."""
        with suppress(SocketClosed, TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    await self._socket.receive()

    async def close(self, code: int, reason: str) -> None:
        """Closes the socket."""
        await self._socket.close(code, reason)

    async def receive(self) -> WireEvent:
        """The next event, in the order sent. Raises `SocketClosed`, and `WireError` after `BABBLE_LIMIT`."""
        while True:
            event = self._understand(await self._next())
            if event is not None:
                self._babble = 0
                return event
            self._count_garbage()

    async def play(self, pcm: bytes) -> None:
        """Queues mono s16le at 8 kHz behind what Twilio already has. Raises `SocketClosed`."""
        payload = b2a_base64(mulaw.encode(pcm), newline=False).decode("ascii")
        await self._socket.send(f'{self._heads.media}{payload}"}}}}')

    async def mark(self, name: str) -> None:
        """Asks for ``name`` back once everything before it was played or cleared. Raises `SocketClosed`."""
        await self._socket.send(f"{self._heads.mark}{encode(self._mark_prefix + name).decode()}}}}}")

    async def clear(self) -> None:
        """Empties Twilio's queue; every outstanding mark comes back. Raises `SocketClosed`."""
        await self._socket.send(self._heads.clear)

    def _understand(self, message: _Any) -> WireEvent | None:
        match message:
            case _Media(stream_sid=self._stream_id, media=media) if media.payload:
                self._heard_ms = media.timestamp + len(media.payload) // _BYTES_PER_MS
                self._heard_at_s = asyncio.get_running_loop().time()
                return CallerAudio(max(0, media.timestamp - self._began_ms), mulaw.decode(media.payload))
            case _Mark(stream_sid=self._stream_id, mark=mark):
                is_ours = mark.name.startswith(self._mark_prefix)
                return MarkReturned(mark.name.removeprefix(self._mark_prefix) if is_ours else "")
            case _Dtmf(stream_sid=self._stream_id, dtmf=dtmf):
                return KeyPressed(dtmf.digit)
            case _Stop(stream_sid=self._stream_id):
                return StreamStopped()
            case _:  # another stream's, empty, or a second start
                return None

    async def _next(self) -> _Any:
        while True:
            text = await self._socket.receive()
            try:
                message: _Any = self._decode.decode(text)
                return message
            except (DecodeError, RecursionError):  # not JSON, an unknown event, a missing field, bad base64
                self._count_garbage()

    def _count_garbage(self) -> None:
        self.garbage_frames += 1
        self._babble += 1
        if self._babble > BABBLE_LIMIT:
            raise WireError(f"{self._babble} senseless frames in a row on a media socket")
