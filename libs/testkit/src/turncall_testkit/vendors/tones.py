"""Sounds that can be recognised again by measuring: mono s16le tones."""

from typing import Final

import numpy as np

LOUDNESS: Final = 8000
"""Peak of a tone, of 32767."""


def tone(frequency_hz: float, rate_hz: int, duration_s: float) -> bytes:
    """A sine of that length, to the sample."""
    times = np.arange(round(rate_hz * duration_s)) / rate_hz
    return (LOUDNESS * np.sin(2 * np.pi * frequency_hz * times)).astype("<i2").tobytes()


def pitch_hz(audio: bytes, rate_hz: int) -> float:
    """The frequency that is strongest in ``audio``, to within its rate divided by its number of samples."""
    samples = np.frombuffer(audio, dtype="<i2")
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / rate_hz)[int(spectrum.argmax())])
