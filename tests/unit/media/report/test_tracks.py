"""Both sides of a call on one timeline."""

import io
import wave

import numpy as np

from turncall_media.report.tracks import LEAP_S, Tracks, wav


def tone(level: int, samples: int) -> bytes:
    """So many samples at one level."""
    return np.full(samples, level, "<i2").tobytes()


def sides(stereo: bytes) -> tuple[list[int], list[int]]:
    """Caller and agent, sample by sample."""
    both = np.frombuffer(stereo, "<i2").reshape(-1, 2)
    return both[:, 0].tolist(), both[:, 1].tolist()


def test_sound_lies_where_it_belongs() -> None:
    """Gaps are silence, and each side has its own channel."""
    tracks = Tracks()
    tracks.place("caller", 2, tone(1, 3))
    tracks.place("agent", 4, tone(2, 2))
    assert tracks.end == 6
    assert sides(tracks.take(6)) == ([0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 2, 2])
    assert tracks.start == tracks.end == 6


def test_order_of_arrival_does_not_matter() -> None:
    """A late frame goes to its place, not to the end."""
    tracks = Tracks()
    tracks.place("caller", 4, tone(2, 2))
    tracks.place("caller", 0, tone(1, 2))
    assert sides(tracks.take(6))[0] == [1, 1, 0, 0, 2, 2]


def test_what_was_not_heard_is_taken_back() -> None:
    """A cut removes what lies behind it, and what is said afterwards may take its place."""
    tracks = Tracks()
    tracks.place("agent", 0, tone(1, 6))
    tracks.cut("agent", 3)
    tracks.place("agent", 4, tone(2, 1))
    assert sides(tracks.take(5))[1] == [1, 1, 1, 0, 2]


def test_sound_for_a_part_that_was_taken_is_left_out() -> None:
    """A part is final; what still fits behind it is kept."""
    tracks = Tracks()
    tracks.place("caller", 0, tone(1, 4))
    tracks.take(4)
    tracks.place("caller", 2, tone(2, 4))
    assert sides(tracks.take(2))[0] == [2, 2]


def test_leaping_clock_costs_no_memory() -> None:
    """A timestamp far in the future is not believed."""
    tracks = Tracks()
    tracks.place("caller", 0, tone(1, 2))
    tracks.place("caller", 2 + 8000 * LEAP_S + 1, tone(2, 2))
    assert tracks.end == 4


def test_wav_is_what_players_expect() -> None:
    """Stereo, 16 bits, 8 kHz, with the right lengths."""
    with wave.open(io.BytesIO(wav(tone(7, 16)))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (2, 2, 8000, 8)
        assert file.readframes(8) == tone(7, 16)
