"""A call from a browser: WebRTC, and a channel for messages beside the sound.

The page may make its connection anew, when its network changes: the call is the same, and goes on where it was.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import DecodeError, json

from turncall_media.stages.avatars import Picture
from turncall_media.wire.peer import OfferUnusable, Peer
from turncall_media.wire.screen import Screen
from turncall_media.wire.stream import StreamStart
from turncall_media.wire.webrtc import QUEUED_AUDIO, WebRtcWire
from turncall_proto.webrtc import IceCandidate, IceServer

GONE_AFTER_S: Final = 20.0
"""Without sound or message for this long the page is gone. One that lost its network asks to go on before."""
_SAY_GOODBYE_S: Final = 0.2
_GOES_ON: Final = 1012

Listener = Callable[[str], None]


class BrowserWire(WebRtcWire):
    """One call's stream. `answer` comes first, and again whenever the page asks; then it is a `Wire` like any other."""

    is_fixed = False

    def __init__(self, line_id: str, ice_servers: Sequence[IceServer]) -> None:
        super().__init__(line_id, ice_servers)
        self._screen = Screen()
        self._listener: Listener | None = None
        self._unheard: list[str] = []  # messages that came before anybody listened
        self._watching: asyncio.Task[None] | None = None

    async def answer(self, offer: str, *, is_new: bool) -> str:
        """The SDP that answers the page's offer, of a connection that ``is_new`` or of the one that there is.

        Raises `OfferUnusable`; then everything is as before.
        """
        if self._is_over:
            raise OfferUnusable("the call is over")
        if self._peer is not None and not is_new and self._peer.is_of(offer):
            return await self._peer.answer(offer)
        peer = Peer(self._mouth, self._ice_servers, self, self._screen)
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

    @property
    def is_watching(self) -> bool:
        """Whether the present connection has a line for a picture."""
        return self._peer is not None and self._peer.is_watching

    def show(self, picture: Picture) -> None:
        """Replaces what the page sees."""
        self._screen.show(picture)

    async def open(self) -> StreamStart:
        """Waits until sound can flow. Raises `NeverConnected`, when that takes too long or the page leaves."""
        start = await super().open()
        self._watching = asyncio.create_task(self._watch(), name="is the browser there")
        return start

    async def see_off(self, timeout_s: float) -> None:
        """Nobody else closes a browser's stream."""

    async def close(self, code: int, reason: str) -> None:
        """Says to the page that the agent has left, or that another worker goes on, and ends the connection."""
        if self._watching is not None:
            self._watching.cancel()
        await super().close(code, reason)

    def told(self, message: str) -> None:
        """A message of the page: a ping each second, what it says of its tracks, or something for whoever listens."""
        self._heard_at_s = self._now_s()
        if message.startswith("ping") or _is_signalling(message):
            return
        if self._listener is not None:
            self._listener(message)
        elif len(self._unheard) < QUEUED_AUDIO:
            self._unheard.append(message)

    async def _say_goodbye(self, peer: Peer, code: int) -> None:
        kind = "handover" if code == _GOES_ON else "peerLeft"
        peer.tell(json.encode({"type": "signalling", "message": {"type": kind}}).decode())
        await asyncio.sleep(_SAY_GOODBYE_S)  # the message leaves by the connection that is closed

    async def _watch(self) -> None:
        while (left_s := self._heard_at_s + GONE_AFTER_S - self._now_s()) > 0:  # noqa: ASYNC110 - time passes by itself
            await asyncio.sleep(left_s)
        self.left()


def _is_signalling(message: str) -> bool:
    try:
        told = json.decode(message)
    except DecodeError:
        return False
    return isinstance(told, dict) and told.get("type") == "signalling"
