"""Both sides of a call on one timeline: caller left, agent right, mono s16le each, until a part is taken.

Sound is placed where it belongs, not where it arrived: a stall of ours moves nothing, a gap is silence, and what the
agent was about to say can be taken back.
"""

import struct
from typing import Final, Literal

import numpy as np

from turncall_media.audio.sound import TELEPHONE, Sound

Side = Literal["caller", "agent"]
LEAP_S: Final = 30
"""A timestamp further ahead than this is a broken clock: its sound is put where the track ends."""


class Tracks:
    """The part of the timeline that was not taken yet. Positions are samples since the stream began."""

    def __init__(self, sound: Sound = TELEPHONE) -> None:
        self._leap = LEAP_S * sound.rate_hz
        self.start = 0
        self._sides: dict[Side, bytearray] = {"caller": bytearray(), "agent": bytearray()}

    @property
    def end(self) -> int:
        """The position behind the later side."""
        return self.start + max(len(track) for track in self._sides.values()) // 2

    def place(self, side: Side, position: int, pcm: bytes) -> None:
        """Puts sound at ``position``, over what was there. What lies before `start` is gone and is left out."""
        if position > self.end + self._leap:
            position = self.end
        if position < self.start:
            pcm = pcm[2 * (self.start - position) :]
            position = self.start
        track = self._sides[side]
        offset = 2 * (position - self.start)
        if offset > len(track):
            track.extend(bytes(offset - len(track)))
        track[offset : offset + len(pcm)] = pcm

    def reach(self, position: int) -> None:
        """Fills up to ``position`` with silence, however far that is."""
        for track in self._sides.values():
            track.extend(bytes(max(0, 2 * (position - self.start) - len(track))))

    def cut(self, side: Side, position: int) -> None:
        """Takes back everything from ``position`` on."""
        del self._sides[side][2 * max(0, position - self.start) :]

    def take(self, samples: int) -> bytes:
        """The next ``samples`` as stereo s16le, silence where a side has none; the timeline then starts behind them."""
        stereo = np.zeros((samples, 2), dtype="<i2")
        for column, track in enumerate(self._sides.values()):
            sound = np.frombuffer(bytes(track[: 2 * samples]), dtype="<i2")
            stereo[: len(sound), column] = sound
            del track[: 2 * samples]
        self.start += samples
        return stereo.tobytes()


def wav(stereo: bytes, sound: Sound = TELEPHONE) -> bytes:
    """A WAV file (RIFF, PCM) of stereo s16le at the rate of ``sound``."""
    frame_bytes, rate_hz = 4, sound.rate_hz
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, rate_hz, rate_hz * frame_bytes, frame_bytes, 16)
    data = struct.pack("<4sI", b"data", len(stereo)) + stereo
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data
