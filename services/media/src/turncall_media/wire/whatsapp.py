"""A call over WhatsApp: WebRTC with Meta's relay, which is made once and stays with the worker that made it.

Meta takes an answer to its offer beforehand, so that sound has its path when the call is accepted; what is sent before
the acceptance is clipped. There is no channel for messages, and who hung up is told by a webhook: control passes it on.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from turncall_media.errors import NeverConnected
from turncall_media.wire.peer import OfferUnusable, Peer
from turncall_media.wire.webrtc import WebRtcWire
from turncall_proto.webrtc import IceCandidate, IceServer

ACCEPT_WITHIN_S: Final = 60.0
"""Meta gives a call up that is not accepted within 30 to 60 s (Cloud API Calling)."""
TELL_WITHIN_S: Final = 30.0
"""After the ring's time, until control tells that nobody has picked up."""

_SHA_256: Final = "a=fingerprint:sha-256 "


class WhatsAppWire(WebRtcWire):
    """One call's stream. `answer` or `offer` comes first; sound flows once there is a path and the call is accepted."""

    page = None
    is_fixed = True

    def __init__(self, line_id: str, ice_servers: Sequence[IceServer]) -> None:
        super().__init__(line_id, ice_servers)
        self._accepted = asyncio.Event()
        self._sdp: str | None = None
        self._stopped = asyncio.Event()
        self._accept_within_s = ACCEPT_WITHIN_S

    async def answer(self, offer: str, *, is_new: bool) -> str:
        """The SDP that answers Meta's offer, the same one whenever it is asked for. Raises `OfferUnusable`."""
        if self._is_over:
            raise OfferUnusable("the call is over")
        if self._sdp is None:
            peer = Peer(self._mouth, self._ice_servers, self)
            try:
                self._sdp = _with_one_fingerprint(await peer.answer(offer))
            except OfferUnusable:
                await peer.close()
                raise
            self._peer = peer
        return self._sdp

    async def offer(self, waits_s: float) -> str:
        """The SDP for a person who is called and has ``waits_s`` to pick up; the same whenever it is asked for."""
        if self._sdp is None:
            self._accept_within_s = waits_s + TELL_WITHIN_S
            self._peer = Peer(self._mouth, self._ice_servers, self)
            self._sdp = _with_one_fingerprint(await self._peer.offer())
        return self._sdp

    async def answered(self, sdp: str) -> None:
        """The person has picked up; once. Raises `OfferUnusable`."""
        if self._peer is None:
            raise OfferUnusable("the call is over")
        if not self._accepted.is_set():
            await self._peer.take(sdp)
            self.accept()

    async def learn(self, candidates: Sequence[IceCandidate]) -> None:
        """Meta's offer holds all of its addresses: none come later."""

    def accept(self) -> None:
        """Meta has taken the answer: sound may flow."""
        self._accepted.set()

    def left(self) -> None:
        """The other side has hung up, or the path is gone."""
        super().left()
        self._accepted.set()
        self._stopped.set()

    async def see_off(self, timeout_s: float) -> None:
        """Meta closes its end, or tells by a webhook that the call is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._stopped.wait()
        except TimeoutError:
            return

    async def _until_sound_flows(self) -> None:
        try:
            async with asyncio.timeout(self._accept_within_s):
                await self._accepted.wait()
        except TimeoutError as late:
            raise NeverConnected(f"the call was not accepted within {self._accept_within_s:g} s") from late
        await super()._until_sound_flows()


def _with_one_fingerprint(sdp: str) -> str:
    """Meta takes a fingerprint by SHA-256 and no other beside it (tried by Pipecat's client)."""
    lines = sdp.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("a=fingerprint:") or line.startswith(_SHA_256))
