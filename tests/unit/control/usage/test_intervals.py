"""Intervals of shares and of their differences, against published examples."""

import pytest

from turncall_control.usage.intervals import difference, share


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998) 857, table I
        (15, 148, 0.0624, 0.1605),  # likewise
        (1, 29, 0.0061, 0.1718),  # likewise
    ],
)
def test_a_share_has_wilsons_interval(count: int, of: int, low: float, high: float) -> None:
    """Within 0 and 1, and none of no width for a share of nothing or of all."""
    found = share(count, of)
    assert (found.low, found.high) == (low, high)
    assert found.rate == round(count / of, 4)


def test_nothing_is_known_without_a_sample() -> None:
    """The share may be anything, and nothing can be said to be above it."""
    nothing = share(0, 0)
    assert (nothing.rate, nothing.low, nothing.high) == (None, 0.0, 1.0)
    assert difference(nothing, share(3, 4)) is None


@pytest.mark.parametrize(
    ("one", "other", "low", "high", "is_clear"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339, True),  # Newcombe, Statistics in Medicine 17 (1998) 873, table II, a
        ((9, 10), (3, 10), 0.1705, 0.8090, True),  # likewise, b
        ((5, 56), (0, 29), -0.0381, 0.1926, False),  # likewise, d
    ],
)
def test_a_difference_has_newcombes_interval(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float, is_clear: bool
) -> None:
    """And is clear when that does not hold zero, whichever way round it is asked."""
    found, turned = difference(share(*one), share(*other)), difference(share(*other), share(*one))
    assert found is not None
    assert turned is not None
    assert (found.low, found.high, found.is_clear) == (low, high, is_clear)
    assert (turned.low, turned.high, turned.is_clear) == (-high, -low, is_clear)
