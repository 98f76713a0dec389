"""What a browser is to play next, frame by frame in real time: the queue that a carrier would have.

Frames leave by a clock of their own, silence where nothing waits, since a stream of sound has no pauses. A mark comes
back when the sound before it has left.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from turncall_media.audio.sound import WIDEBAND

FRAME_MS: Final = 20
_FRAME_SAMPLES: Final = FRAME_MS * WIDEBAND.samples_per_ms
_FRAME_BYTES: Final = FRAME_MS * WIDEBAND.bytes_per_ms
_BEHIND_AT_MOST_S: Final = 0.5
"""A process that stood still for longer does not send all of it at once: the clock goes on from here."""


class Mouth:
    """The queue of one call. ``returned`` gets the names of marks, in order."""

    def __init__(self, returned: Callable[[str], None]) -> None:
        self._returned = returned
        self._waiting: deque[bytes | str] = deque()
        self._passed: list[str] = []  # marks behind the frame that is leaving

    def put(self, pcm: bytes) -> None:
        """Appends mono s16le at 16 kHz."""
        if pcm:
            self._waiting.append(pcm)

    def mark(self, name: str) -> None:
        """Wants ``name`` back behind what was put so far."""
        self._waiting.append(name)

    def clear(self) -> None:
        """Forgets the sound; all marks come back."""
        waiting, self._waiting = self._waiting, deque()
        for item in (*self._passed, *waiting):
            if isinstance(item, str):
                self._returned(item)
        self._passed = []

    def take(self) -> bytes:
        """The next frame."""
        for name in self._passed:
            self._returned(name)
        self._passed = []
        frame = bytearray()
        while self._waiting and (len(frame) < _FRAME_BYTES or isinstance(self._waiting[0], str)):
            item = self._waiting.popleft()
            if isinstance(item, str):
                self._passed.append(item)
                continue
            room = _FRAME_BYTES - len(frame)
            frame += item[:room]
            if len(item) > room:
                self._waiting.appendleft(item[room:])
        return bytes(frame) + bytes(_FRAME_BYTES - len(frame))


class MouthTrack(MediaStreamTrack):
    """One connection's view of a `Mouth`; aiortc asks it for frames once sound can flow, and stops it."""

    kind = "audio"

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self._mouth = mouth
        self._due_s: float | None = None
        self._sent = 0

    async def recv(self) -> AudioFrame:
        """The next frame, when its time has come. Raises `MediaStreamError` once the track is stopped."""
        now_s = asyncio.get_running_loop().time()
        if self._due_s is None or now_s - self._due_s > _BEHIND_AT_MOST_S:
            self._due_s = now_s
        await asyncio.sleep(max(0.0, self._due_s - now_s))
        if self.readyState != "live":
            raise MediaStreamError
        self._due_s += FRAME_MS / 1000
        frame = AudioFrame(format="s16", layout="mono", samples=_FRAME_SAMPLES)
        frame.planes[0].update(self._mouth.take())
        frame.sample_rate, frame.pts = WIDEBAND.rate_hz, self._sent
        frame.time_base = Fraction(1, WIDEBAND.rate_hz)
        self._sent += _FRAME_SAMPLES
        return frame
