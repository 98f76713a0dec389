"""Measures of sound."""

import math

import pytest

from turncall_testkit.audio import level_dbfs, sounding_ms
from turncall_testkit.vendors import tone

RATE_HZ = 8000


def test_level_of_a_tone() -> None:
    """A sine of peak 8000 lies 12.2 dB below full scale at its peak, and 3 dB less in the mean."""
    assert level_dbfs(tone(440, RATE_HZ, 1.0)) == pytest.approx(20 * math.log10(8000 / 32768) - 3.01, abs=0.05)


@pytest.mark.parametrize("pcm", [b"", bytes(320)])
def test_silence_has_no_level(pcm: bytes) -> None:
    """Nothing and zeros alike."""
    assert level_dbfs(pcm) == -math.inf
    assert sounding_ms(pcm, RATE_HZ) == []


def test_stretches_of_sound() -> None:
    """A short pause belongs to its stretch, a long one divides; a part of a step at the end is left out."""
    beep = tone(440, RATE_HZ, 0.1)
    pcm = bytes(1600) + beep + bytes(3200) + beep + bytes(8000) + beep + bytes(6)
    assert sounding_ms(pcm, RATE_HZ) == [(100, 500), (1000, 1100)]
