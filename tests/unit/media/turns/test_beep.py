"""The tone of an answering machine, told from voices, keys, noise and clicks."""

import numpy as np
import pytest

from turncall_media.audio.tones import tones
from turncall_media.turns.beep import BeepDetector

RATE_HZ = 8000


def sound(hz: float, length_ms: int, amplitude: float = 8000.0) -> bytes:
    t = np.arange(RATE_HZ * length_ms // 1000) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int16).tobytes()


SILENCE = bytes(2 * RATE_HZ)


@pytest.mark.parametrize("hz", [440, 620, 850, 1000, 1400, 1975])
@pytest.mark.parametrize("piece_bytes", [320, 960, 1234])
def test_a_beep_is_noticed_when_it_ends(hz: int, piece_bytes: int) -> None:
    """However the audio is cut into pieces, once, behind its end."""
    audio = SILENCE + sound(hz, 400) + SILENCE
    detector, ends = BeepDetector(), []
    for start in range(0, len(audio), piece_bytes):
        if detector.feed(audio[start : start + piece_bytes]):
            ends.append(start // 16)
    assert len(ends) == 1
    assert 1340 <= ends[0] <= 1500


def test_what_is_no_beep() -> None:
    """Short tones, keys, ringing, noise, a chord and a voice's harmonics pass for none."""
    noise = np.random.default_rng(7).normal(0, 3000, 3 * RATE_HZ).astype(np.int16).tobytes()
    mixed = [np.frombuffer(sound(hz, 1500, 3000.0), dtype=np.int16) for hz in (180, 360, 540, 720)]
    for audio in (sound(1000, 120), tones("159#"), noise, sum(mixed[1:], mixed[0]).tobytes(), sound(200, 600), SILENCE):
        assert not BeepDetector().feed(SILENCE + audio + SILENCE)
