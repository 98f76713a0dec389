"""From a vendor's sample rate to the pipeline's, while the speech still arrives."""

from typing import Final

import numpy as np
import soxr  # type: ignore[import-untyped]  # publishes no type information

LONGEST_HOLD_MS: Final = 45
"""Audio kept back at worst from 22,050 Hz and up to 8000 Hz: 40.0 ms from 24,000 and 48,000 Hz, 43.4 ms from 22,050
(measured with soxr's LQ; MQ and HQ hold 73 to 157 ms). LQ keeps 3000 Hz within 0.3 dB and folds nothing back above
-80 dB, where QQ, which holds nothing, folds everything back at full level."""


def resampled(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """All of some mono s16le at another rate, of the same length in time."""
    resampler = Resampler(from_hz, to_hz)
    return resampler.take(pcm) + resampler.end()


class Resampler:
    """One utterance of mono s16le from ``from_hz`` to ``to_hz``: `take` what arrives, then `end` it once.

    What comes out is as long as what went in, to the sample.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        same = from_hz == to_hz
        self._stream = None if same else soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16", quality="LQ")
        self._half = b""

    def take(self, audio: bytes) -> bytes:
        """What is ready after ``audio``, which may end within a sample; it may be nothing."""
        audio = self._half + audio
        whole = len(audio) & ~1
        self._half = audio[whole:]
        return self._resampled(audio[:whole], is_last=False)

    def end(self) -> bytes:
        """What was held back. Half a sample at the very end is dropped."""
        return self._resampled(b"", is_last=True)

    def _resampled(self, audio: bytes, *, is_last: bool) -> bytes:
        if self._stream is None:
            return audio
        samples = np.frombuffer(audio, dtype="<i2")
        ready: bytes = self._stream.resample_chunk(samples, last=is_last).astype("<i2").tobytes()
        return ready
