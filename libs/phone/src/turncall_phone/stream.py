"""A media socket of one call: the handshake, both directions of audio, marks, and how it ends."""

import asyncio
import base64
import socket
from contextlib import suppress
from typing import Any, Literal, Protocol

import aiohttp
import msgspec
from aiohttp import WSMessage, WSMsgType

from turncall_phone import mulaw
from turncall_phone import stream_messages as wire
from turncall_phone.calls import Call
from turncall_phone.faults import FaultPlan, StreamFault
from turncall_phone.journal import Alert, Journal, StreamCleared, StreamClosed, StreamMark, StreamOpened
from turncall_phone.line import FRAME_MS
from turncall_phone.playout import RATE_HZ, Playout

# Ten minutes: beyond it queued playback is dropped (31931).
CAPACITY_SAMPLES = 600 * RATE_HZ
# A reader that lags by a second loses the caller's newest audio (31930); other messages have the rest of the queue.
MEDIA_BACKLOG = 50
BACKLOG = 1000
# Little enough that a reader which stops is felt within seconds rather than after megabytes.
SEND_BUFFER_BYTES = 16 * 1024
CLOSE_TIMEOUT_S = 2.0

type StreamEnd = Literal["peer", "loss", "carrier"]


class StreamPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the TwiML says about a stream."""

    stream_sid: str
    url: str
    parameters: tuple[tuple[str, str], ...] = ()


class MediaSocket(Protocol):
    """What a stream asks of its socket; aiohttp's client socket is one."""

    async def send_str(self, data: str) -> None:
        """Send a text frame; waits while the peer reads too slowly."""
        ...

    async def receive(self) -> WSMessage:
        """The next frame, or how the socket ended."""
        ...

    async def close(self) -> bool:
        """Take leave, within the socket's own time limit."""
        ...

    def get_extra_info(self, name: str) -> Any:
        """The connection's `socket`."""
        ...


class MediaStream:
    """One open socket from `start` to `stop`. `run` is its life; the line calls it for each frame."""

    def __init__(
        self, media_socket: MediaSocket, plan: StreamPlan, call: Call, journal: Journal, faults: FaultPlan
    ) -> None:
        self._socket = media_socket
        self._plan = plan
        self._call = call
        self._journal = journal
        self._faults = faults
        self._playout = Playout(capacity_samples=CAPACITY_SAMPLES)
        self._outbox: asyncio.Queue[msgspec.Struct | None] = asyncio.Queue(BACKLOG)
        self._encoder = msgspec.json.Encoder()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._is_frozen = False
        self._sequence = 0
        self._frames_sent = 0
        self._frames_dropped = 0
        self._media_received = 0
        self._samples_received = 0
        self._marks_received = 0
        self._clears_received = 0
        self._close_code: int | None = None
        self._alerted: set[int] = set()

    async def run(self) -> StreamEnd:
        """Carry the call until the peer closes, the connection breaks, or the caller of `run` cancels it.

        Cancelled, it takes leave as the carrier does: `stop`, then a close frame.
        """
        by: StreamEnd = "carrier"
        self._greet()
        writer = asyncio.create_task(self._write(), name=f"stream writer {self._plan.stream_sid}")
        fault = asyncio.create_task(self._misbehave(), name=f"stream fault {self._plan.stream_sid}")
        self._call.line.connect(self, self._playout)
        self._call.line.on_key = self._send_key
        try:
            by = await self._read()
            return by
        finally:
            self._call.line.disconnect()
            self._call.line.on_key = None
            fault.cancel()
            try:
                await self._leave(writer, by)
            finally:
                writer.cancel()
                self._journal.add(self._summary(by), self._call.sid)

    def return_marks(self, names: tuple[str, ...]) -> None:
        """Send back marks that were played."""
        for name in names:
            self._return_mark(name, "played")

    def send_audio(self, codes: bytes) -> None:
        """Queue 20 ms of the caller's audio, or drop it when the reader is a second behind."""
        timestamp_ms = (self._frames_sent + self._frames_dropped) * FRAME_MS
        if self._is_frozen or self._outbox.qsize() >= MEDIA_BACKLOG:
            self._frames_dropped += 1
            if not self._is_frozen:
                self._alert(31930, "caller audio dropped: the server reads its socket too slowly")
            return
        self._frames_sent += 1
        body = wire.MediaBody(
            chunk=str(self._frames_sent), timestamp=str(timestamp_ms), payload=base64.b64encode(codes).decode("ascii")
        )
        self._post(wire.Media(sequence_number=self._next(), stream_sid=self._plan.stream_sid, media=body))

    def _greet(self) -> None:
        sid, call = self._plan.stream_sid, self._call
        body = wire.StartBody(
            account_sid=call.account.sid,
            stream_sid=sid,
            call_sid=call.sid,
            custom_parameters=dict(self._plan.parameters),
        )
        self._post(wire.Connected())
        self._post(wire.Start(sequence_number=self._next(), stream_sid=sid, start=body))
        opened = StreamOpened(stream_sid=sid, url=self._plan.url, parameters=self._plan.parameters)
        self._journal.add(opened, call.sid)

    def _send_key(self, digit: str) -> None:
        body = wire.DtmfBody(digit=digit)
        self._post(wire.Dtmf(sequence_number=self._next(), stream_sid=self._plan.stream_sid, dtmf=body))

    def _return_mark(self, name: str, event: Literal["played", "cleared"]) -> None:
        body = wire.MarkBody(name=name)
        self._post(wire.MarkBack(sequence_number=self._next(), stream_sid=self._plan.stream_sid, mark=body))
        self._note_mark(name, event)

    def _note_mark(self, name: str, event: Literal["received", "played", "cleared"]) -> None:
        mark = StreamMark(stream_sid=self._plan.stream_sid, name=name, event=event, at_ms=self._call.line.at_ms)
        self._journal.add(mark, self._call.sid)

    def _next(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    def _post(self, message: msgspec.Struct) -> None:
        # Full only when a peer that does not read is also sent a thousand marks: it is as good as gone.
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self._alert(31924, "too many messages wait for a server that does not read")

    async def _write(self) -> None:
        with suppress(ConnectionError, aiohttp.ClientError):
            while (message := await self._outbox.get()) is not None:
                await self._socket.send_str(self._encoder.encode(message).decode())

    async def _read(self) -> StreamEnd:
        while True:
            message = await self._socket.receive()
            await self._may_read.wait()
            match message.type:
                case WSMsgType.TEXT:
                    self._take(message.data)
                case WSMsgType.BINARY:
                    self._alert(31950, "a binary frame came: send text frames with JSON")
                case WSMsgType.CLOSE:
                    self._close_code = int(message.data)
                    self._alert(31921, f"the server closed the socket with {message.data}")
                    return "peer"
                case WSMsgType.ERROR:
                    self._alert(31924, f"the server broke the WebSocket protocol: {message.data}")
                    return "loss"
                case _:
                    self._alert(31903, "the connection broke while the stream was active")
                    return "loss"

    def _take(self, text: str) -> None:
        try:
            message = wire.parse(text)
            if message.stream_sid != self._plan.stream_sid:
                raise ValueError("streamSid names another stream")
            codes = message.media.codes() if isinstance(message, wire.PlayMedia) else b""
        except (msgspec.DecodeError, ValueError) as error:
            self._alert(31951, f"invalid message: {error}")
            return
        match message:
            case wire.PlayMedia():
                self._queue(codes)
            case wire.SetMark():
                self._marks_received += 1
                self._note_mark(message.mark.name, "received")
                if self._playout.mark(message.mark.name):
                    self._return_mark(message.mark.name, "played")
            case wire.Clear():
                self._clear()

    def _queue(self, codes: bytes) -> None:
        self._media_received += 1
        self._samples_received += len(codes)
        if self._call.line.on_delivery is not None:
            self._call.line.on_delivery(len(codes))
        if self._playout.feed(mulaw.decode(codes)):
            self._alert(31931, "playback audio dropped: more than ten minutes are queued")

    def _clear(self) -> None:
        self._clears_received += 1
        dropped_ms = self._playout.queued_samples * 1000 // RATE_HZ
        names = self._playout.clear()
        cleared = StreamCleared(stream_sid=self._plan.stream_sid, dropped_ms=dropped_ms, at_ms=self._call.line.at_ms)
        self._journal.add(cleared, self._call.sid)
        for name in names:
            self._return_mark(name, "cleared")

    def _alert(self, code: int, detail: str) -> None:
        if code not in self._alerted:
            self._alerted.add(code)
            self._journal.add(Alert(code=code, detail=detail), self._call.sid)

    async def _misbehave(self) -> None:
        fault = self._faults.strike(StreamFault, lambda f: f.effect != "refuse", self._call.sid)
        if fault is None:
            return
        await self._call.line.wait_ms(fault.at_ms)
        if fault.effect == "drop":
            connection = self._socket.get_extra_info("socket")
            connection.shutdown(socket.SHUT_RDWR)
            return
        self._may_read.clear()
        self._is_frozen = fault.effect == "freeze"
        await self._call.line.wait_ms(fault.for_ms)
        self._is_frozen = False
        self._may_read.set()

    async def _leave(self, writer: asyncio.Task[None], by: StreamEnd) -> None:
        if by == "carrier":
            body = wire.StopBody(account_sid=self._call.account.sid, call_sid=self._call.sid)
            self._post(wire.Stop(sequence_number=self._next(), stream_sid=self._plan.stream_sid, stop=body))
            with suppress(asyncio.QueueFull):
                self._outbox.put_nowait(None)
            await asyncio.wait({writer}, timeout=CLOSE_TIMEOUT_S)
        await self._socket.close()

    def _summary(self, by: StreamEnd) -> StreamClosed:
        return StreamClosed(
            stream_sid=self._plan.stream_sid,
            by=by,
            close_code=self._close_code,
            frames_sent=self._frames_sent,
            frames_dropped=self._frames_dropped,
            media_received=self._media_received,
            audio_received_ms=self._samples_received * 1000 // RATE_HZ,
            marks_received=self._marks_received,
            clears_received=self._clears_received,
        )
