"""When the caller's voice begins and ends, to the window of 32 ms, on the caller's own audio clock.

Pure but for the scorer. Speech must last a while to count as begun, and silence as ended, so a change is known later
than it happened; it is reported at the sample where it happened. On a line that is quiet the voice's end is known to
4 ms: where the last sound was.
"""

from collections.abc import Iterator
from typing import Final, Literal, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from turncall_media.audio.sound import TELEPHONE, Sound
from turncall_media.turns.silero import WINDOW_MS

QUIET_RMS: Final = 58.0
"""Below -55 dBFS nothing is speech, so the model need not be asked: line noise lies lower, speech 20 dB higher."""
_BLOCK_MS: Final = 4
_FORGET_AFTER: Final = 2000 // WINDOW_MS
_CLEARLY_QUIET: Final = 0.1
_QUIET_RUN: Final = 5


class Scorer(Protocol):
    """Says how likely a window of `WINDOW_MS` holds speech; remembers the windows before."""

    def score(self, window: NDArray[np.int16]) -> float:
        """0 to 1."""
        ...

    def reset(self) -> None:
        """Forgets the windows before."""
        ...


class VoiceSettings(Struct, frozen=True, kw_only=True):
    """How sure, and for how long, before speech counts as begun or ended."""

    confidence: float
    start_ms: int
    stop_ms: int


class VoiceChange(Struct, frozen=True):
    """The voice began or ended ``at_ms`` after the caller's audio did; noticed ``late_ms`` after that."""

    kind: Literal["began", "ended"]
    at_ms: int
    late_ms: int


class VoiceDetector:
    """Follows one caller's voice. Feed it everything, in order."""

    def __init__(self, settings: VoiceSettings, scorer: Scorer, sound: Sound = TELEPHONE) -> None:
        self.settings = settings
        self._sound = sound
        self._window = WINDOW_MS * sound.samples_per_ms
        self._quiet_energy = QUIET_RMS**2 * self._window
        self._block = _BLOCK_MS * sound.samples_per_ms
        self._last_loud = np.zeros(self._window, np.int16)  # the newest window that was not quiet
        self._loud_until = 0  # samples until its end
        self._begin_after = max(1, round(settings.start_ms / WINDOW_MS))
        self._end_after = max(1, round(settings.stop_ms / WINDOW_MS))
        self._scorer = scorer
        self._rest = np.zeros(0, np.int16)
        self._heard = 0  # samples scored
        self._run = 0  # windows in a row that speak against the present state
        self._since_reset = 0
        self._quiet_run = 0
        self.is_speaking = False

    def feed(self, pcm: bytes) -> Iterator[VoiceChange]:
        """The changes that ``pcm`` (mono s16le) makes known."""
        samples = np.concatenate((self._rest, np.frombuffer(pcm, "<i2")))
        whole = len(samples) // self._window * self._window
        self._rest = samples[whole:]
        for start in range(0, whole, self._window):
            newer = len(samples) - start - self._window
            change = self._step(self._score(samples[start : start + self._window]) >= self.settings.confidence, newer)
            if change is not None:
                yield change

    def stall(self) -> VoiceChange | None:
        """The audio stopped coming: whoever was speaking is not any more."""
        if not self.is_speaking:
            return None
        self._run = self._end_after - 1
        return self._step(False, len(self._rest))

    def _step(self, is_speech: bool, newer: int) -> VoiceChange | None:
        """What a window makes known behind which there are ``newer`` samples already."""
        self._heard += self._window
        self._run = self._run + 1 if is_speech != self.is_speaking else 0
        needed = self._end_after if self.is_speaking else self._begin_after
        if self._run < needed:
            return None
        self._run = 0
        self.is_speaking = is_speech
        at = max(0, self._heard - needed * self._window)
        if not is_speech:
            at = min(at, self._last_sound())
        late_ms = (self._heard + newer - at) // self._sound.samples_per_ms
        return VoiceChange("began" if is_speech else "ended", at // self._sound.samples_per_ms, late_ms)

    def _last_sound(self) -> int:
        """Samples until the end of the last block that was not quiet."""
        blocks = self._last_loud.reshape(-1, self._block).astype(np.float32)
        loud = np.flatnonzero((blocks * blocks).mean(axis=1) >= QUIET_RMS**2)
        return self._loud_until - self._window + (int(loud[-1]) + 1) * self._block if len(loud) else self._loud_until

    def _score(self, window: NDArray[np.int16]) -> float:
        loud = window.astype(np.float32)
        speech = 0.0
        if np.dot(loud, loud) >= self._quiet_energy:
            speech = self._scorer.score(window)
            self._last_loud, self._loud_until = window, self._heard + self._window
        self._since_reset += 1
        self._quiet_run = self._quiet_run + 1 if speech < _CLEARLY_QUIET else 0
        if self._since_reset >= _FORGET_AFTER and self._quiet_run >= _QUIET_RUN and not self.is_speaking:
            self._scorer.reset()
            self._since_reset = 0
        return speech
