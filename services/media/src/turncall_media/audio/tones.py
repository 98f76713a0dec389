"""What the keys of a telephone sound like: two sines each (ITU-T Q.23), mono s16le at 8 kHz."""

from typing import Final

import numpy as np

from turncall_media.audio.sound import TELEPHONE

KEYS: Final = ("123A", "456B", "789C", "*0#D")
ROWS_HZ: Final = (697, 770, 852, 941)
COLUMNS_HZ: Final = (1209, 1336, 1477, 1633)
TONE_MS: Final = 120
PAUSE_MS: Final = 80
"""Q.24 asks receivers to take 40 ms of each; menus over bad lines want more."""
WAITS_MS: Final = {"w": 500, "W": 1000}
_LOUDNESS: Final = 0.2 * 32767
"""Of each sine: -14 dBFS, as loud as speech."""


def tones(keys: str) -> bytes:
    """The sound of ``keys``: 0 to 9, A to D, * and #, each with a pause behind it; w and W are silence."""
    return b"".join(_silence(WAITS_MS[key]) if key in WAITS_MS else _tone(key) + _silence(PAUSE_MS) for key in keys)


def _tone(key: str) -> bytes:
    row = next(index for index, keys in enumerate(KEYS) if key in keys)
    seconds = np.arange(TONE_MS * TELEPHONE.samples_per_ms) / TELEPHONE.rate_hz
    pair = (ROWS_HZ[row], COLUMNS_HZ[KEYS[row].index(key)])
    wave = sum(np.sin(2 * np.pi * hz * seconds) for hz in pair) * _LOUDNESS
    return np.asarray(wave, "<i2").tobytes()


def _silence(ms: int) -> bytes:
    return bytes(ms * TELEPHONE.bytes_per_ms)
