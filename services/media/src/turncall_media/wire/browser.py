"""A call from a browser: WebRTC, 16 kHz both ways, and a channel for messages beside the sound.

The page may make its connection anew, when its network changes: the call is the same, and goes on where it was.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from msgspec import DecodeError, json

from turncall_media.audio.sound import WIDEBAND
from turncall_media.errors import NeverConnected
from turncall_media.seams import SocketClosed
from turncall_media.wire.mouth import Mouth
from turncall_media.wire.peer import OfferUnusable, Peer
from turncall_media.wire.stream import CallerAudio, KeyPressed, MarkReturned, StreamStart, StreamStopped, WireEvent
from turncall_proto.webrtc import IceCandidate, IceServer

CONNECT_WITHIN_S: Final = 15.0
"""From the answer until sound can flow; candidates that trickle in and a relay take their time."""
GONE_AFTER_S: Final = 20.0
"""Without sound or message for this long the page is gone. One that lost its network asks to go on before."""
QUEUED_AUDIO: Final = 100
"""Frames that wait for a slow pipeline; what comes on top is lost, as on any network: 2 s."""
_SAY_GOODBYE_S: Final = 0.2
_GOES_ON: Final = 1012

Listener = Callable[[str], None]


class BrowserWire:
    """One call's stream. ``line_id`` is the call as this wire knows it.

    `answer` comes first, and again whenever the page asks; then it is a `Wire` like any other.
    """

    sound = WIDEBAND

    def __init__(self, line_id: str, ice_servers: Sequence[IceServer]) -> None:
        self._line_id = line_id
        self._ice_servers = ice_servers
        self._events: asyncio.Queue[WireEvent | None] = asyncio.Queue()
        self._mouth = Mouth(lambda name: self._events.put_nowait(MarkReturned(name)))
        self._peer: Peer | None = None
        self._connected = asyncio.Event()
        self._listener: Listener | None = None
        self._unheard: list[str] = []  # messages that came before anybody listened
        self._base_ms: int | None = None  # where the present connection's sound lies in the stream
        self._began_ms = 0
        self._heard_at_s = self._now_s()
        self._watching: asyncio.Task[None] | None = None
        self._is_over = False
        self.garbage_frames = 0
        self.opened_at_s = 0.0

    async def answer(self, offer: str, *, is_new: bool) -> str:
        """The SDP that answers the page's offer, of a connection that ``is_new`` or of the one that there is.

        Raises `OfferUnusable`; then everything is as before.
        """
        if self._is_over:
            raise OfferUnusable("the call is over")
        if self._peer is not None and not is_new:
            return await self._peer.answer(offer)
        peer = Peer(self._mouth, self._ice_servers, self)
        try:
            answer = await peer.answer(offer)
        except OfferUnusable:
            await peer.close()
            raise
        before, self._peer, self._base_ms = self._peer, peer, None
        self._heard_at_s = self._now_s()
        if before is not None:
            await before.close()
        return answer

    async def learn(self, candidates: Sequence[IceCandidate]) -> None:
        """Addresses at which the browser may be reached."""
        if self._peer is not None:
            await self._peer.learn(candidates)

    @property
    def page(self) -> "BrowserWire":
        """It is its own."""
        return self

    def listen(self, listener: Listener) -> None:
        """Has all messages but pings and those about the connection told, from the first one on."""
        self._listener = listener
        unheard, self._unheard = self._unheard, []
        for message in unheard:
            listener(message)

    def tell(self, message: str) -> None:
        """Sends the page a text; it is lost while there is no channel."""
        if self._peer is not None:
            self._peer.tell(message)

    def press(self, digit: str) -> None:
        """The caller pressed a key on the page."""
        self._events.put_nowait(KeyPressed(digit))

    async def open(self) -> StreamStart:
        """Waits until sound can flow. Raises `NeverConnected`, after `CONNECT_WITHIN_S` or when the page leaves."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await self._connected.wait()
        except TimeoutError as late:
            raise NeverConnected(f"no path to the browser was found within {CONNECT_WITHIN_S:g} s") from late
        if self._is_over:
            raise NeverConnected("the page left before sound could flow")
        self.opened_at_s = self._heard_at_s = self._now_s()
        self._watching = asyncio.create_task(self._watch(), name="is the browser there")
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

    async def see_off(self, timeout_s: float) -> None:
        """Nobody else closes a browser's stream."""

    async def close(self, code: int, reason: str) -> None:
        """Says to the page that the agent has left, or that another worker goes on, and ends the connection."""
        self._is_over = True
        if self._watching is not None:
            self._watching.cancel()
        kind = "handover" if code == _GOES_ON else "peerLeft"
        self.tell(json.encode({"type": "signalling", "message": {"type": kind}}).decode())
        self._events.put_nowait(None)
        peer, self._peer = self._peer, None
        if peer is not None:
            await asyncio.sleep(_SAY_GOODBYE_S)  # the message leaves by the connection that is closed
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
        """A message of the page: a ping each second, what it says of its tracks, or something for whoever listens."""
        self._heard_at_s = self._now_s()
        if message.startswith("ping") or _is_signalling(message):
            return
        if self._listener is not None:
            self._listener(message)
        elif len(self._unheard) < QUEUED_AUDIO:
            self._unheard.append(message)

    def left(self) -> None:
        """The page has closed the connection."""
        if not self._is_over:
            self._is_over = True
            self._events.put_nowait(StreamStopped())
            self._connected.set()

    async def _watch(self) -> None:
        while (left_s := self._heard_at_s + GONE_AFTER_S - self._now_s()) > 0:  # noqa: ASYNC110 - time passes by itself
            await asyncio.sleep(left_s)
        self.left()

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


def _is_signalling(message: str) -> bool:
    try:
        told = json.decode(message)
    except DecodeError:
        return False
    return isinstance(told, dict) and told.get("type") == "signalling"
