"""Changing the sample rate of speech that still arrives."""

import numpy as np
import pytest

from turncall_media.audio.resampling import LONGEST_HOLD_MS, Resampler
from turncall_testkit.vendors import pitch_hz, tone


def in_pieces(audio: bytes, size: int) -> list[bytes]:
    """``audio`` as it may come over a network."""
    return [audio[start : start + size] for start in range(0, len(audio), size)]


@pytest.mark.parametrize("from_hz", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("size", [1, 333, 960, 4801, 100_000])
def test_length_and_pitch_survive_any_cut(from_hz: int, size: int) -> None:
    """Whatever the pieces, also within a sample, as much comes out as went in, and it sounds the same."""
    resampler = Resampler(from_hz, 8000)
    sound = tone(440, from_hz, 0.25)
    audio = b"".join(resampler.take(piece) for piece in in_pieces(sound, size)) + resampler.end()
    assert len(audio) / 2 == pytest.approx(0.25 * 8000, abs=1)
    assert pitch_hz(audio, 8000) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("from_hz", [22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("step_ms", [20, 40, 100])
def test_little_is_held_back(from_hz: int, step_ms: int) -> None:
    """At no moment is more missing than the stated hold."""
    resampler = Resampler(from_hz, 8000)
    pieces = in_pieces(tone(440, from_hz, 2), 2 * (from_hz * step_ms // 1000))
    taken_ms = given_ms = longest = 0.0
    for piece in pieces:
        given_ms += len(piece) / 2 / from_hz * 1000
        taken_ms += len(resampler.take(piece)) / 2 / 8
        longest = max(longest, given_ms - taken_ms)
    assert longest <= LONGEST_HOLD_MS


def test_nothing_above_half_the_rate_folds_back() -> None:
    """A tone that 8 kHz cannot carry is gone, not lower."""
    resampler = Resampler(24_000, 8000)
    audio = resampler.take(tone(5000, 24_000, 1)) + resampler.end()
    inner = np.frombuffer(audio, dtype="<i2")[400:-400]
    assert np.abs(inner.astype(int)).max() < 8


def test_silence_and_nothing_are_fine() -> None:
    """An utterance may be empty."""
    assert Resampler(24_000, 8000).end() == b""
    assert Resampler(8000, 8000).end() == b""
