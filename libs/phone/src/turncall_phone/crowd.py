"""Many callers at once on media sockets, cheap enough that one core of theirs keeps another one busy.

They say the same words in turn for ever, each at a time of its own, whether or not they were answered: a crowd that
waited for late answers would go easy on whoever gives them. One beat writes prepared frames for all of them.
"""

import asyncio
import base64
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from turncall_phone import mulaw
from turncall_phone import stream_messages as wire
from turncall_phone.handset import Handset
from turncall_phone.mulaw import Samples
from turncall_phone.playout import FRAME_SAMPLES, RATE_HZ

FRAME_S: Final = FRAME_SAMPLES / RATE_HZ
BEATS: Final = 10
"""In each 20 ms, so that the callers' frames do not all come at once."""
SPREAD: Final = 0.618
"""Of a cycle between the first words of one caller and of the next: however many there are, few speak at once."""
LISTENS_S: Final = 3.5
"""What a greeting may take."""
BACKLOG_BYTES: Final = 256 * 1024
"""Of a reader that has stopped; a carrier would drop more as well."""
OPEN_WITHIN_S: Final = 20.0
_SILENCE: Final = base64.b64encode(bytes([mulaw.SILENCE]) * FRAME_SAMPLES).decode()


class NotConnected(Exception):
    """A media socket was refused, or did not open in time; the message says why."""


class Turn(Struct, frozen=True):
    """One time that a caller spoke: when the words ended, and when an utterance began behind them, before the caller's
    next words; None without one."""

    ended_s: float
    answered_s: float | None


class Words(Struct, frozen=True, kw_only=True):
    """What every caller says once in ``every_s``, which must leave time to be answered: base64 of 20 ms each.

    ``listens_s`` to the greeting come before the first words.
    """

    frames: tuple[str, ...]
    every_s: float
    listens_s: float


def words(pcm: Samples, every_s: float, *, listens_s: float = LISTENS_S) -> Words:
    """Mono s16 at 8 kHz as it goes over the wire, filled up to whole frames."""
    codes = mulaw.encode(pcm)
    codes += bytes([mulaw.SILENCE]) * (-len(codes) % FRAME_SAMPLES)
    pieces = (codes[start : start + FRAME_SAMPLES] for start in range(0, len(codes), FRAME_SAMPLES))
    frames = tuple(base64.b64encode(piece).decode() for piece in pieces)
    return Words(frames=frames, every_s=every_s, listens_s=listens_s)


class CrowdCaller(asyncio.Protocol):
    """One caller: from the upgrade of its socket to the end. Moments are the event loop's."""

    def __init__(self, url: str, account_sid: str, call_sid: str, said: Words, patience_s: float) -> None:
        self.handset = Handset()
        self.call_sid = call_sid
        self.is_connected = asyncio.get_running_loop().create_future()
        self.is_over = asyncio.Event()
        self._account_sid = account_sid
        self._stream_sid = "MZ" + call_sid.removeprefix("CA")
        self._said = said
        self._silent_frames = round((said.listens_s + patience_s) / FRAME_S)
        self._cycle_frames = round(said.every_s / FRAME_S)
        self._socket = ClientProtocol(parse_uri(url), max_size=None)
        self._loop = asyncio.get_running_loop()
        self._encoder = msgspec.json.Encoder()
        self._began_s = 0.0
        self._sent = 0
        self._dropped = 0
        self._ends_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the upgrade."""
        assert isinstance(transport, asyncio.Transport)  # a TCP connection's
        self._transport = transport
        self._socket.send_request(self._socket.connect())
        self._write()

    def data_received(self, data: bytes) -> None:
        """Hears what the peer says."""
        self._socket.receive_data(data)
        for event in self._socket.events_received():
            if isinstance(event, Response):
                self._upgraded()
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._take(bytes(event.data).decode())
        self._write()

    def eof_received(self) -> None:
        """The peer has closed."""
        self._socket.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nobody any more."""
        self.is_over.set()
        if not self.is_connected.done():
            self.is_connected.set_exception(NotConnected(f"{self.call_sid}: the socket closed before it was open"))

    def beat(self, now_s: float) -> None:
        """Sends all frames and marks that are due."""
        if not self._began_s or self.is_over.is_set():
            return
        for name in self.handset.marks_due(now_s):
            back = wire.MarkBack(sequence_number="0", stream_sid=self._stream_sid, mark=wire.MarkBody(name=name))
            self._socket.send_text(self._encoder.encode(back))
        while self._began_s + (self._sent + 1) * FRAME_S <= now_s:
            self._send_frame(now_s)
        self._write()

    def turns(self) -> list[Turn]:
        """Every time that its words were said to the end; the last one may still be answered."""
        silent_s = (self._cycle_frames - len(self._said.frames)) * FRAME_S
        begun = [utterance.began_s for utterance in self.handset.utterances]
        return [
            Turn(ended_s, next((at_s for at_s in begun if ended_s < at_s < ended_s + silent_s), None))
            for ended_s in self._ends_s
        ]

    def hang_up(self) -> None:
        """Takes leave as a carrier does: ``stop``, then a close frame."""
        if not self.is_over.is_set():
            body = wire.StopBody(account_sid=self._account_sid, call_sid=self.call_sid)
            stop = wire.Stop(sequence_number=str(self._sent + 2), stream_sid=self._stream_sid, stop=body)
            self._socket.send_text(self._encoder.encode(stop))
            self._socket.send_close(1000)
            self._began_s = 0.0
            self._write()

    def abort(self) -> None:
        """Drops the connection."""
        self._transport.abort()

    def _upgraded(self) -> None:
        if self.is_connected.done() or self._socket.handshake_exc is not None:
            if not self.is_connected.done():
                self.is_connected.set_exception(NotConnected(f"{self.call_sid}: {self._socket.handshake_exc}"))
            self._transport.abort()
            return
        self._socket.send_text(self._encoder.encode(wire.Connected()))
        start = wire.StartBody(
            account_sid=self._account_sid, stream_sid=self._stream_sid, call_sid=self.call_sid, custom_parameters={}
        )
        self._socket.send_text(
            self._encoder.encode(wire.Start(sequence_number="1", stream_sid=self._stream_sid, start=start))
        )
        self._began_s = self._loop.time()
        self.is_connected.set_result(self._began_s)

    def _send_frame(self, now_s: float) -> None:
        place = (self._sent - self._silent_frames) % self._cycle_frames
        is_speaking = self._sent >= self._silent_frames and place < len(self._said.frames)
        if self._transport.get_write_buffer_size() > BACKLOG_BYTES:
            self._dropped += 1
        else:
            # As `wire.Media` is encoded; a template costs a tenth of an encoder.
            self._socket.send_text(
                f'{{"event":"media","sequenceNumber":"{self._sent + 2}","streamSid":"{self._stream_sid}","media":'
                f'{{"chunk":"{self._sent + 1}","timestamp":"{self._sent * 20}","payload":'
                f'"{self._said.frames[place] if is_speaking else _SILENCE}","track":"inbound"}}}}'.encode()
            )
        self._sent += 1
        if is_speaking and place == len(self._said.frames) - 1:
            self._ends_s.append(now_s)

    def _take(self, text: str) -> None:
        now_s = self._loop.time()
        match wire.parse(text):
            case wire.PlayMedia(media=media):
                self.handset.hear(media.codes(), now_s)
            case wire.SetMark(mark=mark):
                self.handset.mark(mark.name)
            case wire.Clear():
                self.handset.clear(now_s)

    def _write(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"".join(self._socket.data_to_send()))
            if self._socket.close_expected():
                self._transport.close()


class Crowd:
    """Callers who share a beat. ``async with`` starts it; leaving it, everybody hangs up.

    ``lates_s``: how late each beat was; a crowd whose own core is too busy says nothing of whom it calls.
    """

    def __init__(self, account_sid: str, said: Words) -> None:
        self._account_sid = account_sid
        self._said = said
        self._joined = 0
        self.lates_s: list[float] = []
        self._members: list[CrowdCaller] = []
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Crowd":
        self._beating = asyncio.create_task(self._beat(), name="crowd")
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.leave()
        finally:
            if self._beating is not None:
                self._beating.cancel()
                await asyncio.gather(self._beating, return_exceptions=True)

    @property
    def members(self) -> Sequence[CrowdCaller]:
        """Who is on the line, or was cut off."""
        return self._members

    async def join(self, url: str, call_sid: str) -> CrowdCaller:
        """One more caller, on the media socket at ``url`` (``ws://``). Raises `NotConnected`."""
        address = parse_uri(url)
        patience_s = self._said.every_s * (self._joined * SPREAD % 1)
        self._joined += 1
        caller = CrowdCaller(url, self._account_sid, call_sid, self._said, patience_s)
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                await asyncio.get_running_loop().create_connection(lambda: caller, address.host, address.port)
                await caller.is_connected
        except (OSError, TimeoutError) as error:
            raise NotConnected(f"{call_sid}: {error or 'no answer to the upgrade in time'}") from error
        self._members.append(caller)
        return caller

    async def leave(self, within_s: float = 10.0) -> None:
        """Everybody hangs up; whoever is still connected ``within_s`` later is cut off."""
        leaving, self._members = self._members, []
        for caller in leaving:
            caller.hang_up()
        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(caller.is_over.wait() for caller in leaving))
        except TimeoutError:
            for caller in leaving:
                caller.abort()

    async def _beat(self) -> None:
        loop, number = asyncio.get_running_loop(), 0
        next_s = loop.time()
        while True:
            self.lates_s.append(max(0.0, loop.time() - next_s))
            for caller in self._members[number % BEATS :: BEATS]:
                caller.beat(loop.time())
            number += 1
            next_s += FRAME_S / BEATS
            await asyncio.sleep(max(0.0, next_s - loop.time()))
