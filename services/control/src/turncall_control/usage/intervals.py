"""What a sample says of everybody: shares with their intervals, and the difference of two. Pure."""

from math import sqrt
from typing import Annotated, Final

from msgspec import Meta, Struct

Z: Final = 1.959963984540054
"""Of the normal distribution: 95 % lie within so many standard deviations."""


class Share(Struct, frozen=True, kw_only=True):
    """How many of how many, and between which values the true share lies with 95 % confidence."""

    count: int
    of: Annotated[int, Meta(description="The size of the sample.")]
    rate: Annotated[float | None, Meta(description="Null without a sample.")]
    low: float
    high: float


class Difference(Struct, frozen=True, kw_only=True):
    """By how much a share is above another, in parts of one, and the interval of that with 95 % confidence."""

    rate: float
    low: float
    high: float
    is_clear: Annotated[bool, Meta(description="The interval does not hold zero: chance alone rarely does this.")]


def share(count: int, of: int) -> Share:
    """Wilson's score interval (E. B. Wilson, 1927): it holds for small samples and for shares near 0 and 1."""
    if not of:
        return Share(count=0, of=0, rate=None, low=0.0, high=1.0)
    low, high = _wilson(count, of)
    return Share(count=count, of=of, rate=round(count / of, 4), low=round(low, 4), high=round(high, 4))


def difference(one: Share, other: Share) -> Difference | None:
    """Of ``one`` above ``other`` (R. G. Newcombe, 1998, method 10); None when one of them has no sample."""
    if not (one.of and other.of):
        return None
    (low, high), (other_low, other_high) = _wilson(one.count, one.of), _wilson(other.count, other.of)
    rate, other_rate = one.count / one.of, other.count / other.of
    by = rate - other_rate
    below = by - sqrt((rate - low) ** 2 + (other_high - other_rate) ** 2)
    above = by + sqrt((high - rate) ** 2 + (other_rate - other_low) ** 2)
    is_clear = below > 0 or above < 0
    return Difference(rate=round(by, 4), low=round(below, 4), high=round(above, 4), is_clear=is_clear)


def _wilson(count: int, of: int) -> tuple[float, float]:
    rate, square = count / of, Z * Z
    middle = (rate + square / (2 * of)) / (1 + square / of)
    reach = Z * sqrt(rate * (1 - rate) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - reach), min(1.0, middle + reach)
