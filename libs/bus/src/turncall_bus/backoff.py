"""How long to wait before the next try, so that many who failed together do not come back together."""

from random import uniform


def pause_s(failures: int, *, first_s: float, most_s: float) -> float:
    """Seconds to wait after ``failures`` in a row (from 1): ``first_s`` doubled up to ``most_s``, less up to half."""
    whole_s = min(most_s, first_s * 2.0 ** min(failures - 1, 32))
    return whole_s * uniform(0.5, 1.0)
