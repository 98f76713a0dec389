"""The sound of a call over WebRTC, 16 kHz both ways: what browsers and WhatsApp have in common."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from turncall_media.audio.sound import WIDEBAND
from turncall_media.errors import NeverConnected
from turncall_media.seams import SocketClosed
from turncall_media.wire.mouth import Mouth
from turncall_media.wire.peer import Peer
from turncall_media.wire.stream import CallerAudio, KeyPressed, MarkReturned, StreamStart, StreamStopped, WireEvent
from turncall_proto.webrtc import IceServer

CONNECT_WITHIN_S: Final = 15.0
"""From the answer until sound can flow; candidates that trickle in and a relay take their time."""
QUEUED_AUDIO: Final = 100
"""Frames that wait for a slow pipeline; what comes on top is lost, as on any network: 2 s."""


class WebRtcWire:
    """One call's stream. ``line_id`` is the call as its wire knows it. Whoever answers an offer sets the peer."""

    sound = WIDEBAND

    def __init__(self, line_id: str, ice_servers: Sequence[IceServer]) -> None:
        self._line_id = line_id
        self._ice_servers = ice_servers
        self._events: asyncio.Queue[WireEvent | None] = asyncio.Queue()
        self._mouth = Mouth(lambda name: self._events.put_nowait(MarkReturned(name)))
        self._peer: Peer | None = None
        self._connected = asyncio.Event()
        self._base_ms: int | None = None  # where the present connection's sound lies in the stream
        self._began_ms = 0
        self._heard_at_s = self._now_s()
        self._is_over = False
        self.garbage_frames = 0
        self.opened_at_s = 0.0

    def press(self, digit: str) -> None:
        """The caller pressed a key."""
        self._events.put_nowait(KeyPressed(digit))

    async def open(self) -> StreamStart:
        """Waits until sound can flow. Raises `NeverConnected`, when that takes too long or the other side leaves."""
        await self._until_sound_flows()
        if self._is_over:
            raise NeverConnected("the other side left before sound could flow")
        self.opened_at_s = self._heard_at_s = self._now_s()
        return StreamStart(provider_call_id=self._line_id)

    def begin_again(self) -> None:
        """Another conversation takes the stream from here on: times count from here."""
        self._mouth.clear()
        self._began_ms += round((self._now_s() - self.opened_at_s) * 1000)
        self.opened_at_s = self._now_s()

    async def receive(self) -> WireEvent:
        """The next event, in order. Raises `SocketClosed` once the wire was closed here."""
        event = await self._events.get()
        if event is None:
            raise SocketClosed(1000)
        return event

    async def play(self, pcm: bytes) -> None:
        """Queues mono s16le at 16 kHz. Raises `SocketClosed` once the wire was closed here."""
        if self._is_over:
            raise SocketClosed(1000)
        self._mouth.put(pcm)

    async def mark(self, name: str) -> None:
        """Asks for ``name`` back once everything before it has left."""
        self._mouth.mark(name)

    async def clear(self) -> None:
        """Empties the queue; every mark comes back."""
        self._mouth.clear()

    async def close(self, code: int, reason: str) -> None:
        """Ends the connection."""
        self._is_over = True
        self._events.put_nowait(None)
        peer, self._peer = self._peer, None
        if peer is not None:
            await self._say_goodbye(peer, code)
            with suppress(TimeoutError):
                await peer.close()

    def connected(self) -> None:
        """Sound can flow."""
        self._connected.set()

    def heard(self, ms: int, pcm: bytes) -> None:
        """Sound of the present connection."""
        self._heard_at_s = self._now_s()
        if not pcm or not self.opened_at_s:
            return
        if self._base_ms is None:
            self._base_ms = self._began_ms + max(0, round((self._now_s() - self.opened_at_s) * 1000)) - ms
        if self._events.qsize() >= QUEUED_AUDIO:
            self.garbage_frames += 1
            return
        self._events.put_nowait(CallerAudio(max(0, self._base_ms + ms - self._began_ms), pcm))

    def told(self, message: str) -> None:
        """A message of the other side: nothing, unless a wire knows what to do with it."""

    def left(self) -> None:
        """The other side has closed the connection."""
        if not self._is_over:
            self._is_over = True
            self._events.put_nowait(StreamStopped())
            self._connected.set()

    async def _until_sound_flows(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await self._connected.wait()
        except TimeoutError as late:
            raise NeverConnected(f"no path to the other side was found within {CONNECT_WITHIN_S:g} s") from late

    async def _say_goodbye(self, peer: Peer, code: int) -> None:
        """What is still to be said over a connection that is about to be closed."""

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
