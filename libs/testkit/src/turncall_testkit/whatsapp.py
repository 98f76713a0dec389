"""A person's phone with WhatsApp: Opus over a real peer connection, on the emulated Meta's calls."""

import asyncio
from types import TracebackType
from typing import Self

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from turncall_phone.meta import BusinessPhone, Meta, MetaCall
from turncall_testkit.audio import sounding_ms
from turncall_testkit.browser import RATE_HZ, WAIT_S, Microphone, listen


class Handset:
    """One call of one person. ``heard`` is what the agent said: mono s16le at 16 kHz."""

    def __init__(self, meta: Meta, phone: BusinessPhone, person: str) -> None:
        self._meta = meta
        self._phone = phone
        self._person = person
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.on("track", self._play)
        self._microphone = Microphone()
        self._listening: asyncio.Task[None] | None = None
        self.heard = bytearray()
        self.call: MetaCall | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
        await self._connection.close()

    async def dial(self) -> MetaCall:
        """Calls the number; returns once it is taken and sound can flow."""
        self._connection.addTrack(self._microphone)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        call = self.call = self._meta.calls.ring(self._phone, person=self._person, offer=self._described())
        await call.reaches("taken", timeout_s=WAIT_S)
        await self._connection.setRemoteDescription(RTCSessionDescription(call.answer, "answer"))
        await self._connected()
        return call

    async def pick_up(self) -> MetaCall:
        """Takes the number's call to this person, once it rings; returns when sound can flow."""
        call = self.call = await self._meta.calls.placed(self._person, timeout_s=WAIT_S)
        await self._connection.setRemoteDescription(RTCSessionDescription(call.offer, "offer"))
        self._connection.addTrack(self._microphone)
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        self._meta.calls.pick_up(call, self._described())
        await self._connected()
        return call

    def say(self, pcm: bytes) -> None:
        """Speaks mono s16le at 16 kHz, behind what it is saying."""
        self._microphone.put(pcm)

    async def hears(self, ms: int) -> None:
        """Returns once the agent has been heard for so long in all, and is silent at this moment."""
        async with asyncio.timeout(WAIT_S):
            while True:
                sounding = sounding_ms(bytes(self.heard), RATE_HZ)
                if sum(end - start for start, end in sounding) >= ms:
                    return
                await asyncio.sleep(0.1)

    def hang_up(self) -> None:
        """Ends the call."""
        assert self.call is not None  # there is one
        self._meta.calls.hang_up(self.call)

    async def _connected(self) -> None:
        async with asyncio.timeout(WAIT_S):
            while self._connection.connectionState != "connected":  # noqa: ASYNC110 - the stack has no event to wait for
                await asyncio.sleep(0.02)

    def _described(self) -> str:
        """This end's sound as Meta describes it: with one fingerprint, by SHA-256."""
        lines = self._connection.localDescription.sdp.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("a=fingerprint:") or "sha-256" in line)

    def _play(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.create_task(listen(track, self.heard))
