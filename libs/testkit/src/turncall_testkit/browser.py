"""A web page that calls an agent, without a browser: aiortc at the other end of the same requests and messages."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from fractions import Fraction
from types import TracebackType
from typing import Any, Self, cast

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, AudioResampler, VideoFrame
from numpy.typing import NDArray

RATE_HZ = 16_000
FRAME_MS = 20
_FRAME_BYTES = 2 * RATE_HZ * FRAME_MS // 1000
PING_EVERY_S = 1.0
WAIT_S = 30.0

Picture = NDArray[Any]
Offer = Callable[[str, str | None, bool], Awaitable[tuple[str, str]]]
"""Posts an SDP, of a call or of none, from a connection made anew or not; the answer's SDP and the call."""


class Page:
    """One page with a microphone and a loudspeaker. ``heard`` is what the agent said: mono s16le at 16 kHz.

    ``messages`` are what came over the channel, in order. One that ``watches`` has room for a picture: ``seen`` are its
    frames, as rows of pixels of red, green and blue.
    """

    def __init__(self, offer: Offer, configuration: RTCConfiguration | None = None, *, watches: bool = False) -> None:
        self._offer = offer
        self._configuration = configuration or RTCConfiguration(iceServers=[])
        self._connection: RTCPeerConnection | None = None
        self._channel: RTCDataChannel | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._microphone = Microphone()
        self._news = asyncio.Event()
        self.call_id: str | None = None
        self._watches = watches
        self.heard = bytearray()
        self.seen: list[Picture] = []
        self.messages: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def connect(self, *, is_restarted: bool = False) -> None:
        """Calls, or goes on with its call on a new connection; returns when sound and messages can flow."""
        before, self._connection = self._connection, RTCPeerConnection(self._configuration)
        connection, connected = self._connection, asyncio.Event()
        connection.on("connectionstatechange", lambda: connected.set() if _is_over(connection) else None)
        connection.on("track", self._play)
        microphone = self._microphone = Microphone()
        connection.addTrack(microphone)
        if self._watches:
            connection.addTransceiver("video", direction="recvonly")
        self._channel = connection.createDataChannel("chat")
        self._channel.on("message", self._told)
        self._channel.on("open", connected.set)
        await connection.setLocalDescription(await connection.createOffer())
        answer, self.call_id = await self._offer(connection.localDescription.sdp, self.call_id, is_restarted)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(WAIT_S):
            await connected.wait()
        if connection.connectionState != "connected":
            raise ConnectionError(f"the connection is {connection.connectionState}")
        if before is not None:
            await before.close()
        self._tasks.append(asyncio.create_task(self._ping(self._channel)))

    @property
    def local_sdp(self) -> str:
        """What it has offered last."""
        assert self._connection is not None
        return self._connection.localDescription.sdp

    async def renegotiate(self) -> None:
        """Offers anew on the connection that there is."""
        connection = self._connection
        assert connection is not None
        await connection.setLocalDescription(await connection.createOffer())
        answer, self.call_id = await self._offer(connection.localDescription.sdp, self.call_id, False)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    def say(self, pcm: bytes) -> None:
        """Speaks mono s16le at 16 kHz, behind what it is saying."""
        self._microphone.put(pcm)

    async def said(self) -> None:
        """Returns when everything was said."""
        async with asyncio.timeout(WAIT_S):
            await self._microphone.empty.wait()

    def send(self, kind: str, data: Any = None) -> None:
        """Sends an RTVI message."""
        assert self._channel is not None
        self._channel.send(json.dumps({"label": "rtvi-ai", "type": kind, "id": kind, "data": data}))

    async def until(self, kind: str, **data: Any) -> dict[str, Any]:
        """The first message of this kind whose data hold all of ``data``, also one that came before."""
        async with asyncio.timeout(WAIT_S):
            while True:
                self._news.clear()
                for message in self.messages:
                    inner = message.get("message") or message.get("data") or {}
                    if kind in (message["type"], inner.get("type")) and data.items() <= inner.items():
                        return message
                await self._news.wait()

    async def leave(self) -> None:
        """Closes the connection, as when the tab is closed."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if self._connection is not None:
            await self._connection.close()

    def lose_network(self) -> None:
        """From here on nothing that it sends arrives, as when its machine went to sleep."""
        assert self._connection is not None
        for task in self._tasks:
            task.cancel()
        for sender in self._connection.getSenders():
            vars(sender.transport.transport)["_send"] = _nothing

    def _told(self, message: Any) -> None:
        self.messages.append(cast("dict[str, Any]", json.loads(message)))
        self._news.set()

    def _play(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._tasks.append(asyncio.create_task(listen(track, self.heard)))
        else:
            self._tasks.append(asyncio.create_task(self._watch(track)))

    async def _watch(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, VideoFrame)
                self.seen.append(frame.to_ndarray(format="rgb24"))

    @staticmethod
    async def _ping(channel: RTCDataChannel) -> None:
        while channel.readyState != "closed":
            if channel.readyState == "open":
                channel.send("ping: 1")
            await asyncio.sleep(PING_EVERY_S)


async def listen(track: MediaStreamTrack, heard: bytearray) -> None:
    """Appends what comes in to ``heard`` until the track ends: mono s16le at 16 kHz."""
    resampler = AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    with suppress(MediaStreamError):
        while True:
            frame = await track.recv()
            assert isinstance(frame, AudioFrame)
            for part in resampler.resample(frame):
                heard += bytes(part.planes[0])[: 2 * part.samples]


class Microphone(MediaStreamTrack):
    """What a person says, silence otherwise, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._unsaid = bytearray()
        self._sent = 0
        self._due_s = 0.0
        self.empty = asyncio.Event()
        self.empty.set()

    def put(self, pcm: bytes) -> None:
        """Appends sound."""
        self._unsaid += pcm
        self.empty.clear()

    async def recv(self) -> AudioFrame:
        """The next 20 ms."""
        now_s = asyncio.get_running_loop().time()
        self._due_s = max(self._due_s, now_s - 0.2) if self._due_s else now_s
        await asyncio.sleep(max(0.0, self._due_s - now_s))
        if self.readyState != "live":
            raise MediaStreamError
        self._due_s += FRAME_MS / 1000
        pcm = bytes(self._unsaid[:_FRAME_BYTES])
        del self._unsaid[:_FRAME_BYTES]
        if not self._unsaid:
            self.empty.set()
        frame = AudioFrame(format="s16", layout="mono", samples=_FRAME_BYTES // 2)
        frame.planes[0].update(pcm + bytes(_FRAME_BYTES - len(pcm)))
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, self._sent, Fraction(1, RATE_HZ)
        self._sent += _FRAME_BYTES // 2
        return frame


def _is_over(connection: RTCPeerConnection) -> bool:
    return connection.connectionState in ("failed", "closed")


async def _nothing(_: bytes) -> None:
    return
