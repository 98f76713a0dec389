"""What counts as growth of a process."""

from turncall_testkit.chaos.growth import LEAST_SAMPLES, growth

MIB = 1 << 20


def test_a_process_that_fills_its_caches_first_is_flat() -> None:
    """The first quarter of a life is not looked at."""
    told = growth("worker", [(40 * MIB + min(n, 50) * MIB, 20) for n in range(400)])
    assert told is not None
    assert told.is_flat
    assert told.share == 0


def test_memory_that_is_never_given_back_is_told() -> None:
    """A tenth and twelve megabytes more than after the warm-up."""
    told = growth("worker", [(100 * MIB + n * MIB // 10, 20) for n in range(400)])
    assert told is not None
    assert not told.is_flat
    assert "worker grew from 113 to 136 MiB" in str(told)


def test_descriptors_that_are_never_closed_are_told() -> None:
    """Memory alone would hide them."""
    told = growth("worker", [(100 * MIB, 20 + n // 20) for n in range(400)])
    assert told is not None
    assert not told.is_flat


def test_a_short_life_says_nothing() -> None:
    """Killed processes are started again many times in a soak."""
    assert growth("worker", [(MIB, 1)] * (LEAST_SAMPLES - 1)) is None
