"""What is heard behind the agent: a room, made of noise by a fixed seed, so that nobody's recording is played.

A loop repeats without a seam, since it is made in the frequency domain. It is made once in a process, in 40 ms at most:
before the first call, by `warm`.
"""

from collections.abc import Callable
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from turncall_media.audio.sound import TELEPHONE, Sound

Room = Literal["office", "cafe"]
LOOP: Final = 1 << 16
"""Samples at 8 kHz until it repeats: 8.2 s."""
LOUDEST: Final = 0.1 * 32767
"""The mean level at volume 1: -20 dBFS, as loud as a voice."""
_SEED: Final = 8000
_RATE_HZ: Final = TELEPHONE.rate_hz
_HZ: Final = np.fft.rfftfreq(LOOP, 1 / _RATE_HZ)
_FORMANTS_HZ: Final = ((500, 1500), (700, 1100), (300, 2200), (450, 900), (600, 1800))
_Samples = NDArray[np.float64]


class Ambience:
    """One call's place in a room. What it returns follows on what it returned before; mono s16le."""

    def __init__(self, room: Room, volume: float, sound: Sound = TELEPHONE) -> None:
        self._loop = np.round(_widened(loop(room), sound) * (volume * LOUDEST)).astype(np.int32)
        self._at = 0

    def alone(self, samples: int) -> bytes:
        """The next ``samples`` of the room."""
        return self._mixed(np.zeros(samples, np.int32))

    def under(self, pcm: bytes) -> bytes:
        """``pcm`` with the room behind it; what is too loud for 16 bits is clipped."""
        return self._mixed(np.frombuffer(pcm, "<i2").astype(np.int32))

    def _mixed(self, sound: NDArray[np.int32]) -> bytes:
        sound += self._loop.take(np.arange(self._at, self._at + len(sound)), mode="wrap")
        self._at = (self._at + len(sound)) % len(self._loop)
        return np.clip(sound, -32768, 32767).astype("<i2").tobytes()


@cache
def loop(room: Room) -> _Samples:
    """`LOOP` samples of the room whose mean square is 1; the same in every process."""
    sound = _level(_ROOMS[room](np.random.default_rng(_SEED)))
    sound.flags.writeable = False
    return sound


def _widened(samples: _Samples, sound: Sound) -> _Samples:
    """The same loop, as long, at another rate: made of its spectrum, so that there is still no seam."""
    times = sound.rate_hz // TELEPHONE.rate_hz
    return samples if times == 1 else np.fft.irfft(np.fft.rfft(samples), times * LOOP) * times


def warm() -> None:
    """Makes all rooms. Blocks."""
    for room in _ROOMS:
        loop(room)


def _level(sound: _Samples) -> _Samples:
    """The same with a mean square of 1."""
    level: _Samples = sound / np.sqrt(np.mean(sound**2))
    return level


def _office(chance: np.random.Generator) -> _Samples:
    """Air conditioning, somebody who types, and colleagues further away."""
    air = _noise(chance, lambda hz: 1 / np.maximum(hz, 120))
    keys = sum((_strokes(chance, every_s=0.16, hz=hz, fades_s=0.006) for hz in (1700, 2600)), np.zeros(LOOP))
    return air + 0.9 * keys + 0.25 * _people(chance, 3)


def _cafe(chance: np.random.Generator) -> _Samples:
    """People at their tables, cups, and the room's own noise."""
    air = _noise(chance, lambda hz: 1 / np.maximum(hz, 300))
    cups = _strokes(chance, every_s=0.9, hz=3100, fades_s=0.05)
    return 0.4 * air + 0.6 * cups + _people(chance, len(_FORMANTS_HZ))


_ROOMS: Final[dict[Room, Callable[[np.random.Generator], _Samples]]] = {"office": _office, "cafe": _cafe}


def _noise(chance: np.random.Generator, gain: Callable[[_Samples], _Samples]) -> _Samples:
    """Noise with this spectrum, which repeats after `LOOP`; its mean square is 1."""
    spectrum = chance.standard_normal((2, len(_HZ))) * gain(_HZ)
    spectrum[:, 0] = 0
    return _level(np.fft.irfft(spectrum[0] + 1j * spectrum[1], LOOP))


def _strokes(chance: np.random.Generator, *, every_s: float, hz: float, fades_s: float) -> _Samples:
    """Short knocks of this pitch at random times, of different strength."""
    seconds = np.arange(round(6 * fades_s * _RATE_HZ)) / _RATE_HZ
    knock = np.sin(2 * np.pi * hz * seconds) * np.exp(-seconds / fades_s)
    sound = np.zeros(LOOP)
    for start in chance.integers(0, LOOP, round(LOOP / _RATE_HZ / every_s)):
        sound[(start + np.arange(len(knock))) % LOOP] += chance.uniform(0.2, 1) * knock
    return sound


def _people(chance: np.random.Generator, count: int) -> _Samples:
    """So many who talk at once, in syllables and with pauses, of whom no word can be made out; mean square 1."""
    sound = np.zeros(LOOP)
    for low_hz, high_hz in _FORMANTS_HZ[:count]:
        pitch_hz = chance.uniform(95, 220)
        phase = np.cumsum(pitch_hz * (1 + 0.06 * _noise(chance, lambda hz: (hz < 2).astype(float)))) / _RATE_HZ
        phase *= round(phase[-1]) / phase[-1]  # whole periods: no seam
        syllables = np.maximum(0, _noise(chance, lambda hz: (hz < 5).astype(float)))
        sound += syllables * _vowel(pitch_hz, low_hz, high_hz)[(phase * 1024).astype(int) % 1024]
    return _level(sound)


def _vowel(pitch_hz: float, low_hz: float, high_hz: float) -> _Samples:
    """One period, in 1024 steps, of a voice with these formants."""
    turn = 2 * np.pi * np.arange(1024) / 1024
    wave = np.zeros(1024)
    for harmonic in range(1, int(3400 / pitch_hz)):
        hz = harmonic * pitch_hz
        strength = sum(np.exp(-(((hz - formant) / 150) ** 2)) for formant in (low_hz, high_hz))
        wave += (strength + 0.02) / harmonic * np.sin(harmonic * turn + harmonic**2)
    return wave
