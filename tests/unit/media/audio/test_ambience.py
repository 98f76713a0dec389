"""Rooms that are made, not recorded."""

import numpy as np
import pytest

from turncall_media.audio.ambience import LOOP, Ambience, Room, loop
from turncall_testkit.audio import level_dbfs

ROOMS = pytest.mark.parametrize("room", ["office", "cafe"])


@ROOMS
def test_volume_is_the_level(room: Room) -> None:
    """1 is -20 dBFS over the whole loop, a tenth of it 20 dB less."""
    assert level_dbfs(Ambience(room, 1.0).alone(LOOP)) == pytest.approx(-20, abs=0.1)
    assert level_dbfs(Ambience(room, 0.1).alone(LOOP)) == pytest.approx(-40, abs=0.1)


@ROOMS
def test_loop_has_no_seam_and_no_silence(room: Room) -> None:
    """Where it begins again it leaps no further than elsewhere, and no half second of it is still."""
    sound = loop(room)
    steps = np.abs(np.diff(sound))
    assert abs(sound[0] - sound[-1]) <= np.percentile(steps, 99)
    assert np.sqrt(np.mean(sound[: LOOP // 4000 * 4000].reshape(-1, 4000) ** 2, axis=1)).min() > 0.2


@ROOMS
def test_room_goes_on_from_where_it_was(room: Room) -> None:
    """Pieces make the same room as the whole, under speech too, beyond the end of the loop."""
    whole, pieces = Ambience(room, 0.5), Ambience(room, 0.5)
    expected = np.frombuffer(whole.alone(LOOP + 700), "<i2").copy()
    expected[300:400] += 1000
    made = pieces.alone(300) + pieces.under(np.full(100, 1000, "<i2").tobytes()) + pieces.alone(LOOP + 300)
    assert made == expected.tobytes()


def test_rooms_differ_and_stay_the_same() -> None:
    """An office is no cafe: people are more than twice as much of a cafe, and each is the same whenever it is made."""
    assert loop.__wrapped__("office").tobytes() == loop("office").tobytes()
    shares = [np.abs(np.fft.rfft(loop(room))) ** 2 for room in ("office", "cafe")]
    hz = np.fft.rfftfreq(LOOP, 1 / 8000)
    office, cafe = (float(power[(hz > 350) & (hz < 1200)].sum() / power.sum()) for power in shares)
    assert cafe > 2 * office


def test_too_loud_is_clipped() -> None:
    """A voice at full scale stays one: it does not wrap into a crack."""
    mixed = np.frombuffer(Ambience("cafe", 1.0).under(np.full(LOOP, 32767, "<i2").tobytes()), "<i2")
    assert mixed.max() == 32767
    assert mixed.min() > 0
