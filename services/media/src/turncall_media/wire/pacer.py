"""When to hand how much audio to the carrier: a little ahead of real time, so that a late task is not heard and a clear
loses little.

Pure: it is asked what is due, and told nothing it could forget. The lead is what a stalled event loop may take before
the caller hears a gap; larger messages less often cost less than a message for each 20 ms. What is heard behind the
speech is mixed in here, and fills the silence between with less lead, for speech that comes may have to wait behind it.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from turncall_media.audio.ambience import Ambience
from turncall_media.audio.sound import TELEPHONE, Sound
from turncall_media.wire.playout import Playout

LEAD_S: Final = 0.4
REFILL_S: Final = 0.1
BACKGROUND_LEAD_S: Final = 0.16
BACKGROUND_REFILL_S: Final = 0.08
MARK_EVERY_MS: Final = 200
"""Between marks: how finely it is known what the caller heard."""


class Pacer:
    """The audio of one stream that waits for its time. Positions are those of `Playout`."""

    def __init__(self, playout: Playout, ambience: Ambience | None = None, sound: Sound = TELEPHONE) -> None:
        self._rate_hz = sound.rate_hz
        self._mark_every = MARK_EVERY_MS * sound.samples_per_ms
        self._playout = playout
        self._ambience = ambience
        self._waiting: deque[memoryview] = deque()
        self._unmarked = 0
        self._wants_mark = False
        self._marks = 0
        self.queued = 0

    @property
    def end(self) -> int:
        """The position behind everything that was put."""
        return self._playout.written + self.queued

    def put(self, pcm: bytes) -> None:
        """Appends mono s16le at the wire's rate."""
        self._waiting.append(memoryview(pcm))
        self.queued += len(pcm) // 2

    def finish(self) -> None:
        """Wants a mark behind what was put so far."""
        self._wants_mark = True

    def drop(self) -> None:
        """Forgets everything that was not handed over."""
        self._waiting.clear()
        self.queued = 0
        self._unmarked = 0
        self._wants_mark = False

    def due(self, now_s: float) -> Iterator[bytes | str]:
        """What to send now, in order: audio, or the name of a mark. The caller sends each before it takes the next."""
        while self.queued and self._playout.ahead_s(now_s) <= LEAD_S - min(REFILL_S, self.queued / self._rate_hz):
            room = max(1, int((LEAD_S - self._playout.ahead_s(now_s)) * self._rate_hz))
            pcm = self._take(min(room, self.queued, self._mark_every - self._unmarked))
            self._playout.wrote(len(pcm) // 2, now_s)
            self._unmarked += len(pcm) // 2
            yield pcm if self._ambience is None else self._ambience.under(pcm)
            if self._unmarked >= self._mark_every:
                yield self._mark()
        if self._wants_mark and not self.queued:
            self._wants_mark = False
            if self._unmarked:
                yield self._mark()
        if self._ambience is not None and not self.queued and self._fill_at_s(now_s) <= now_s:
            samples = max(1, int((BACKGROUND_LEAD_S - self._playout.ahead_s(now_s)) * self._rate_hz))
            self._playout.filled(samples, now_s)
            yield self._ambience.alone(samples)

    def due_at_s(self, now_s: float) -> float | None:
        """When `due` will have something; None while nothing waits and nothing fills."""
        if not self.queued:
            if self._wants_mark:
                return now_s
            return None if self._ambience is None else self._fill_at_s(now_s)
        return now_s + max(0.0, self._playout.ahead_s(now_s) - LEAD_S + min(REFILL_S, self.queued / self._rate_hz))

    def _fill_at_s(self, now_s: float) -> float:
        return now_s + max(0.0, self._playout.ahead_s(now_s) - BACKGROUND_LEAD_S + BACKGROUND_REFILL_S)

    def _mark(self) -> str:
        self._marks += 1
        self._unmarked = 0
        name = f"m{self._marks}"
        self._playout.marked(name)
        return name

    def _take(self, samples: int) -> bytes:
        taken = bytearray()
        while len(taken) < 2 * samples:
            head = self._waiting.popleft()
            wanted = 2 * samples - len(taken)
            taken += head[:wanted]
            if len(head) > wanted:
                self._waiting.appendleft(head[wanted:])
        self.queued -= samples
        return bytes(taken)
