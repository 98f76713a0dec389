"""When a crowd of callers is served well enough."""

import pytest
from msgspec.structs import replace

from turncall.capacity.knee import following, knee
from turncall.capacity.sample import Sample

GOOD = Sample(
    calls=50,
    lasted_s=10.0,
    cpu_share=0.5,
    resident_bytes=1,
    turns=100,
    added_ms=(20.0,) * 100,
    lates=((0.0, 9_950), (30.0, 50)),
    gap_ms=0.0,
    cut_off=0,
)


def test_half_a_percent_of_late_audio_is_good_enough() -> None:
    """Jitter is the lateness that 99 % of the audio stays under, by its length and not by messages."""
    assert GOOD.jitter_ms == 0.0
    assert GOOD.late_share == pytest.approx(0.005)
    assert GOOD.cpu_ms == pytest.approx(10.0)
    assert GOOD.added(0.5) == 20.0
    assert not GOOD.fault


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"callers_late_ms": 101.0, "cut_off": 1}, "the callers' own core was 101 ms late"),
        ({"cut_off": 1}, "1 callers were cut off"),
        ({"added_ms": (20.0,) * 98}, "98 of 100 turns were answered"),
        ({"added_ms": (20.0,) * 98 + (501.0, 600.0)}, "answers came 501 ms late"),
        ({"lates": ((0.0, 9_890), (20.0, 110))}, "audio came 20 ms late"),
        ({"added_ms": ()}, "0 of 100 turns were answered"),
    ],
)
def test_what_is_not_good_enough_is_named(changes: dict[str, object], why: str) -> None:
    """Every limit of its own."""
    assert replace(GOOD, **changes).fault == why


def test_the_next_crowd_goes_most_of_the_way_to_a_full_core_and_an_eighth_at_the_least() -> None:
    """Half a core for 50 calls allows 95: 31 more are tried; a core that is full is still given an eighth more."""
    assert following(GOOD) == 50 + 31
    assert following(replace(GOOD, cpu_share=0.99)) == 56


def test_the_knee_is_the_largest_crowd_that_did_not_suffer() -> None:
    """The last one did; a first one that does leaves none."""
    last = replace(GOOD, calls=70, cut_off=2)
    assert knee([replace(GOOD, calls=10), GOOD, last]) == GOOD
    assert knee([last]) is None
