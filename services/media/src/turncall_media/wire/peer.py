"""One peer connection with a browser or WhatsApp: its negotiation, the sound that comes in, and a channel of messages.

aiortc without Pipecat's connection around it: that one waits five seconds for a STUN server that does not answer, ends
what it plays with its task, and knows no marks.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Protocol, Self

from aiortc import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import SessionDescription, candidate_from_sdp
from av import AudioFrame, AudioResampler
from msgspec import Struct

from turncall_media.audio.sound import WIDEBAND
from turncall_media.errors import WireError
from turncall_media.wire.mouth import Mouth, MouthTrack
from turncall_media.wire.screen import Screen, ScreenTrack
from turncall_proto.webrtc import GATHER_WITHIN_S, IceCandidate, IceServer

_DECODED_HZ: Final = 48_000
"""Opus is decoded at this rate."""
CLOSE_WITHIN_S: Final = 2.0
_UNEXPECTED: Final = (ValueError, KeyError, IndexError, AttributeError, AssertionError, InvalidStateError)
"""aiortc checks no syntax, and fails on what it did not expect."""


class OfferUnusable(WireError):
    """An offer holds no sound, is no offer, or asks for what this end cannot do."""


class Ears(Protocol):
    """Who is told what a peer does."""

    def connected(self) -> None:
        """Sound can flow."""
        ...

    def heard(self, ms: int, pcm: bytes) -> None:
        """Mono s16le at 16 kHz that began ``ms`` after the connection's first sound."""
        ...

    def told(self, message: str) -> None:
        """A message came."""
        ...

    def left(self) -> None:
        """The page has closed the connection, or its channel."""
        ...


class _End(Struct, frozen=True):
    """By what an offer is known to be of the same connection as another: its certificate, and its name in ICE."""

    fingerprint: str
    ice_name: str

    @classmethod
    def of(cls, offer: str) -> Self:
        """Raises `OfferUnusable`."""
        try:
            media = SessionDescription.parse(offer).media[0]
        except _UNEXPECTED as error:
            raise OfferUnusable(f"the offer cannot be read: {error or type(error).__name__}") from error
        if media.dtls is None or not media.dtls.fingerprints or media.ice is None or not media.ice.usernameFragment:
            raise OfferUnusable("the offer names no certificate, or nothing to find its sender by")
        return cls(media.dtls.fingerprints[0].value, media.ice.usernameFragment)


class Peer:
    """One `RTCPeerConnection`. The other side makes the channel, if there is one."""

    def __init__(
        self, mouth: Mouth, ice_servers: Sequence[IceServer], ears: Ears, screen: Screen | None = None
    ) -> None:
        servers = [
            RTCIceServer(list(server.urls), server.username or None, server.credential or None)
            for server in ice_servers
        ]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._mouth = mouth
        self._screen = screen
        self._ears = ears
        self._channel: RTCDataChannel | None = None
        self._listening: asyncio.Task[None] | None = None
        self._is_closing = False
        self.is_watching = False
        self._far_end: _End | None = None
        self._connection.on("connectionstatechange", self._changed)
        self._connection.on("track", self._tracked)
        self._connection.on("datachannel", self._opened)

    def is_of(self, offer: str) -> bool:
        """Whether the offer is of the connection that this is the other end of, and not of one that was made anew.

        Raises `OfferUnusable` when it wants to restart ICE: aiortc would go on with the old addresses.
        """
        far_end = _End.of(offer)
        if self._far_end is None or far_end.fingerprint != self._far_end.fingerprint:
            return False
        if far_end.ice_name != self._far_end.ice_name:
            raise OfferUnusable("ICE is not restarted here: make the connection anew, and say so with restart_pc")
        return True

    async def answer(self, offer: str) -> str:
        """The SDP that answers the page's. Raises `OfferUnusable`."""
        connection = self._connection
        try:
            self._far_end = _End.of(offer)
            await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            self._choose()
            await connection.setLocalDescription(await connection.createAnswer())
        except _UNEXPECTED as error:
            raise OfferUnusable(f"the offer cannot be answered: {error or type(error).__name__}") from error
        return connection.localDescription.sdp

    async def offer(self) -> str:
        """The SDP that offers sound both ways; `take` comes next."""
        self._connection.addTrack(MouthTrack(self._mouth))
        self._hurry()
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._connection.localDescription.sdp

    async def take(self, answer: str) -> None:
        """The other side's answer to the offer. Raises `OfferUnusable`."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        except _UNEXPECTED as error:
            raise OfferUnusable(f"the answer cannot be used: {error or type(error).__name__}") from error

    async def learn(self, candidates: Sequence[IceCandidate]) -> None:
        """Addresses at which the browser may be reached; those that make no sense are passed over."""
        for told in candidates:
            if not told.candidate:
                await self._connection.addIceCandidate(None)
                continue
            try:
                candidate = candidate_from_sdp(told.candidate.removeprefix("candidate:"))
            except (AssertionError, ValueError, IndexError):  # aiortc's parser asserts what it expects
                continue
            candidate.sdpMid, candidate.sdpMLineIndex = told.sdp_mid, told.sdp_mline_index
            await self._connection.addIceCandidate(candidate)

    def tell(self, message: str) -> None:
        """Sends one text; nothing when there is no channel."""
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(message)

    async def close(self) -> None:
        """Ends the connection, once; the page is told."""
        self._is_closing = True
        if self._listening is not None:
            self._listening.cancel()
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await self._connection.close()

    def _choose(self) -> None:
        """One line of sound both ways, and one of a picture to the page if it offers one; all else is declined."""
        lines = self._connection.getTransceivers()
        sound = next((line for line in lines if line.kind == "audio"), None)
        if sound is None:
            raise OfferUnusable("the offer holds no sound: it needs an audio line")
        if sound.currentDirection is None:
            sound.sender.replaceTrack(MouthTrack(self._mouth))
            sound.direction = "sendrecv"
        picture = next((line for line in lines if line.kind == "video"), None)
        if picture is not None and self._screen is not None and picture.currentDirection is None:
            picture.sender.replaceTrack(ScreenTrack(self._screen))
            picture.direction = "sendonly"
            self.is_watching = True
        for line in lines:
            if line is not sound and not (line is picture and self.is_watching):
                line.direction = "inactive"
        self._hurry()

    def _hurry(self) -> None:
        """Has the search for own addresses end in time."""
        for line in self._connection.getTransceivers():
            # aioice would wait 5 s for a STUN or TURN server that does not answer, and has no parameter for it.
            ice = line.receiver.transport.transport.iceGatherer._connection
            patient = partial(ice.get_component_candidates, timeout=GATHER_WITHIN_S)
            vars(ice)["get_component_candidates"] = patient

    def _changed(self) -> None:
        if self._is_closing:
            return
        match self._connection.connectionState:
            case "connected":
                self._ears.connected()
            case "closed":
                self._ears.left()

    def _tracked(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._listening is None:
            self._listening = asyncio.create_task(self._listen(track), name="browser's sound")

    def _opened(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("message", self._told)
        channel.on("close", self._shut)

    def _told(self, message: Any) -> None:
        if isinstance(message, str):
            self._ears.told(message)

    def _shut(self) -> None:
        if not self._is_closing:
            self._ears.left()

    async def _listen(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler(format="s16", layout="mono", rate=WIDEBAND.rate_hz)
        first: int | None = None
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)
            assert frame.pts is not None  # aiortc sets it from the packet
            first = frame.pts if first is None else first
            ms = (frame.pts - first) * 1000 // _DECODED_HZ
            pcm = b"".join(bytes(part.planes[0])[: 2 * part.samples] for part in resampler.resample(frame))
            self._ears.heard(ms, pcm)
