"""The audio of one call, in samples since the answer: what the caller hears, what the caller says, and who speaks."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np

from turncall_phone import mulaw
from turncall_phone.mulaw import Samples
from turncall_phone.playout import FRAME_SAMPLES, RATE_HZ, Playout

# RMS of a frame above which someone speaks: -44 dBFS, between a quiet line and quiet speech.
SPEECH_RMS = 200.0
# A gap shorter than this belongs to the burst around it: pauses between words.
BURST_GAP_MS = 300
FRAME_MS = 20
_SILENT_FRAME = bytes([mulaw.SILENCE]) * FRAME_SAMPLES


class MediaPeer(Protocol):
    """The stream that a line carries while one is connected."""

    def return_marks(self, names: tuple[str, ...]) -> None:
        """Send back marks that were played."""
        ...

    def send_audio(self, codes: bytes) -> None:
        """Send 160 bytes of the caller's mu-law audio."""
        ...


class Recording:
    """Mono s16le at 8 kHz on the call's time line; silence is kept as a gap until something follows it."""

    def __init__(self) -> None:
        self._pcm = bytearray()

    def write(self, at_sample: int, samples: Samples) -> None:
        """Lay `samples` down at `at_sample`, which never goes back."""
        self._pcm.extend(bytes(2 * at_sample - len(self._pcm)))
        self._pcm.extend(samples.tobytes())

    def pcm(self, until_sample: int) -> bytes:
        """The recording, padded with silence to `until_sample`."""
        return bytes(self._pcm) + bytes(max(0, 2 * until_sample - len(self._pcm)))


class SpeechMeter:
    """Energy of one direction: whether someone speaks, for how long, and since when it is quiet."""

    def __init__(self) -> None:
        self.spoken_ms = 0
        self.burst_ms = 0
        self.silent_ms = 0

    @property
    def is_speaking(self) -> bool:
        """A loud frame came within the last 300 ms."""
        return self.burst_ms > 0

    def hear(self, frame: Samples | None) -> None:
        """Count 20 ms; `spoken_ms` sums loud frames, `burst_ms` is the length of the running burst, gaps included."""
        if frame is not None and _rms(frame) > SPEECH_RMS:
            self.spoken_ms += FRAME_MS
            self.burst_ms += FRAME_MS + (self.silent_ms if self.burst_ms else 0)
            self.silent_ms = 0
            return
        self.silent_ms += FRAME_MS
        if self.silent_ms >= BURST_GAP_MS:
            self.burst_ms = 0


class LineClosed(Exception):
    """The call ended while something waited on its line."""


class Line:
    """Both directions of one call, moved on 20 ms at a time by `tick`."""

    def __init__(self) -> None:
        self.position = 0
        self.ear = Playout()
        self.mouth = Playout()
        self.agent = SpeechMeter()
        self.person = SpeechMeter()
        self.peer: MediaPeer | None = None
        self.on_key: Callable[[str], None] | None = None
        self.on_delivery: Callable[[int], None] | None = None
        """Told how many samples of the agent's audio came, as each message of it comes."""
        self._surroundings: Samples | None = None
        self._heard = Recording()
        self._said = Recording()
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._closed = False

    @property
    def at_ms(self) -> int:
        """Milliseconds since the answer."""
        return self.position * 1000 // RATE_HZ

    @property
    def is_closed(self) -> bool:
        """The call is over."""
        return self._closed

    @property
    def heard(self) -> bytes:
        """What the caller heard so far: mono s16le at 8 kHz, silence where nothing played."""
        return self._heard.pcm(self.position)

    @property
    def said(self) -> bytes:
        """What the caller said so far, on the same time line as `heard`."""
        return self._said.pcm(self.position)

    def connect(self, peer: MediaPeer, ear: Playout) -> None:
        """Hand both directions to a stream: the caller hears `ear` and is heard by `peer`."""
        self.peer, self.ear = peer, ear

    def disconnect(self) -> None:
        """Take the line back from its stream; what the stream had queued is lost."""
        self.peer, self.ear = None, Playout()

    def tick(self) -> None:
        """Move on by 160 samples: return due marks, play a frame, send a frame, wake whoever waited for this."""
        marks = self.ear.due_marks()
        if marks and self.peer is not None:
            self.peer.return_marks(marks)
        heard = self.ear.take()
        if heard is not None:
            self._heard.write(self.position, heard)
        self.agent.hear(heard)
        self.mouth.due_marks()
        said = self.mouth.take()
        self.person.hear(said)
        said = self._noisy(said)
        if said is not None:
            self._said.write(self.position, said)
        if self.peer is not None:
            self.peer.send_audio(_SILENT_FRAME if said is None else mulaw.encode(said))
        self.position += FRAME_SAMPLES
        self._wake()

    def surround(self, noise: Samples) -> None:
        """Mix `noise`, over and over, into all that the caller says from here on."""
        self._surroundings = noise

    def _noisy(self, said: Samples | None) -> Samples | None:
        if self._surroundings is None:
            return said
        start = self.position % (len(self._surroundings) - FRAME_SAMPLES)
        mixed = self._surroundings[start : start + FRAME_SAMPLES].astype(np.int32)
        if said is not None:
            mixed[: len(said)] += said
        return np.asarray(np.clip(mixed, -32768, 32767), dtype=np.int16)

    def press(self, digit: str) -> bool:
        """Send one key to whatever listens; False when nothing does."""
        if self.on_key is None:
            return False
        self.on_key(digit)
        return True

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return after the first tick at which `holds()`; at once when it does. Raises LineClosed."""
        if self._closed:
            raise LineClosed("the call is over")
        if holds():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = holds
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)

    async def wait_ms(self, length_ms: float) -> None:
        """Let `length_ms` of the call's own time pass."""
        target = self.position + round(length_ms * RATE_HZ / 1000)
        await self.until(lambda: self.position >= target)

    async def play(self, samples: Samples) -> None:
        """Let the caller hear `samples` to the end."""
        self.ear.feed(samples)
        await self.until(lambda: self.ear.is_idle)

    async def speak(self, samples: Samples) -> None:
        """Let the caller say `samples` to the end."""
        self.mouth.feed(samples)
        await self.until(lambda: self.mouth.is_idle)

    def close(self) -> None:
        """End the line: every waiter gets LineClosed, ticks must have stopped."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(LineClosed("the call ended"))

    def _wake(self) -> None:
        for waiter, holds in self._waiters.items():
            if not waiter.done() and holds():
                waiter.set_result(None)


def _rms(frame: Samples) -> float:
    wide = frame.astype(np.float32)
    return float(np.sqrt(np.dot(wide, wide) / len(wide)))
