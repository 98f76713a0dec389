"""Tones of the telephone: keys and the busy signal."""

import numpy as np

from turncall_phone.mulaw import Samples
from turncall_phone.playout import RATE_HZ

KEYS = "123A456B789C*0#D"
_LOW_HZ = (697, 770, 852, 941)
_HIGH_HZ = (1209, 1336, 1477, 1633)
TONE_MS = 100
GAP_MS = 100
WAIT_MS = 500


def tone(frequencies_hz: tuple[int, ...], length_ms: int, *, amplitude: float = 6000.0) -> Samples:
    """`length_ms` of the sum of sines, int16 at 8 kHz; `amplitude` is that of each sine."""
    t = np.arange(RATE_HZ * length_ms // 1000) / RATE_HZ
    total = sum((np.sin(2 * np.pi * hz * t) for hz in frequencies_hz), np.zeros_like(t))
    return np.asarray(np.clip(amplitude * total, -32000, 32000), dtype=np.int16)


def key_tone(key: str) -> Samples:
    """The two tones of a key for 100 ms, then 100 ms of silence; raises ValueError when there is no such key."""
    place = KEYS.index(key.upper())
    sound = tone((_LOW_HZ[place // 4], _HIGH_HZ[place % 4]), TONE_MS)
    return np.concatenate([sound, np.zeros(RATE_HZ * GAP_MS // 1000, dtype=np.int16)])


def dial_tones(digits: str) -> Samples:
    """The tones of `digits`, where `w` is 0.5 s and `W` is 1 s of silence (Twilio's SendDigits)."""
    parts = [_silence(WAIT_MS if d == "w" else 2 * WAIT_MS) if d in "wW" else key_tone(d) for d in digits]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int16)


def _silence(length_ms: int) -> Samples:
    return np.zeros(RATE_HZ * length_ms // 1000, dtype=np.int16)


def noise(rms: float, length_s: int = 10) -> Samples:
    """White noise, int16 at 8 kHz, the same each time: what is tried twice is heard twice."""
    made = np.random.default_rng(1).normal(0.0, rms, RATE_HZ * length_s)
    return np.asarray(np.clip(made, -32000, 32000), dtype=np.int16)
