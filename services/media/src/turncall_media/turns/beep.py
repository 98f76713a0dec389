"""The tone after which an answering machine records: steady, alone, and between 300 and 2000 Hz. Pure.

Audio is mono s16le at 8 kHz. A DFT of 20 ms is a bank of Goertzel filters 50 Hz apart; what a voice says is spread over
many of them, the two tones of a key over two, a beep over one and its neighbours.
"""

from typing import Final

import numpy as np

from turncall_media.audio.sound import TELEPHONE

FRAME_MS: Final = 20
LEAST_MS: Final = 200
"""Shorter tones are clicks, and vowels that happen to be clean."""
_FRAME_BYTES: Final = FRAME_MS * TELEPHONE.bytes_per_ms
_SAMPLES: Final = FRAME_MS * TELEPHONE.samples_per_ms
_HZ: Final = TELEPHONE.rate_hz / _SAMPLES
_LOWEST, _HIGHEST = round(300 / _HZ), round(2000 / _HZ)
_ALONE: Final = 0.9
"""The share of a frame's energy that lies in the tone and its two neighbours."""
_LEAST_RMS: Final = 300.0
_WINDOW: Final = np.hanning(_SAMPLES).astype(np.float32)


class BeepDetector:
    """Listens for one tone after another; `feed` says when one has ended."""

    def __init__(self) -> None:
        self._rest = b""
        self._bin = -1
        self._lasted_ms = 0

    @property
    def is_sounding(self) -> bool:
        """Whether a tone is long enough to be a beep, and goes on."""
        return self._lasted_ms >= LEAST_MS

    def feed(self, pcm: bytes) -> bool:
        """Takes any amount of audio; whether a beep has ended in it."""
        heard = self._rest + pcm
        whole = len(heard) - len(heard) % _FRAME_BYTES
        self._rest = heard[whole:]
        has_ended = False
        for start in range(0, whole, _FRAME_BYTES):
            has_ended = self._hear(np.frombuffer(heard[start : start + _FRAME_BYTES], dtype=np.int16)) or has_ended
        return has_ended

    def _hear(self, frame: np.ndarray[tuple[int], np.dtype[np.int16]]) -> bool:
        tone = _tone(frame)
        if tone >= 0 and abs(tone - self._bin) <= 1:
            self._lasted_ms += FRAME_MS
            return False
        was_beep = self.is_sounding
        self._bin, self._lasted_ms = tone, FRAME_MS if tone >= 0 else 0
        return was_beep


def _tone(frame: np.ndarray[tuple[int], np.dtype[np.int16]]) -> int:
    """The filter that a lone tone is in; -1 when there is no such tone."""
    samples = frame.astype(np.float32)
    if float(np.sqrt(np.mean(samples * samples))) < _LEAST_RMS:
        return -1
    power = np.abs(np.fft.rfft(samples * _WINDOW)) ** 2
    peak = int(np.argmax(power))
    if not _LOWEST <= peak <= _HIGHEST:
        return -1
    return peak if float(power[peak - 2 : peak + 3].sum()) >= _ALONE * float(power.sum()) else -1
