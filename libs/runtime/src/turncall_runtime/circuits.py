"""What is out of order as far as this process knows, so that the next call does not try it first."""

from collections.abc import Callable, Hashable
from typing import Final

TRIPS_AFTER: Final = 2
"""Failures without a success between them; one alone may be one caller's bad luck."""
WITHIN_S: Final = 60.0
OPEN_S: Final = 30.0
"""After which one call tries again; the others follow when that works."""


class Circuits[Key: Hashable]:
    """One for all calls of a process; a key is what breaks as a whole. ``clock_s`` is monotonic."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._failures: dict[Key, list[float]] = {}  # the last `TRIPS_AFTER` moments
        self._opens_until_s: dict[Key, float] = {}

    def failed(self, circuit: Key) -> None:
        """It broke or was silent. What it refused, such as a key or an option, is no failure of its own."""
        now_s = self._clock_s()
        self._forget_before(now_s - WITHIN_S)
        moments = self._failures.setdefault(circuit, [])
        moments.append(now_s)
        del moments[:-TRIPS_AFTER]
        if circuit in self._opens_until_s or len(moments) == TRIPS_AFTER:
            self._opens_until_s[circuit] = now_s + OPEN_S

    def worked(self, circuit: Key) -> None:
        """It did its work."""
        self._failures.pop(circuit, None)
        self._opens_until_s.pop(circuit, None)

    def admits(self, circuit: Key) -> bool:
        """Whether to try it. After `OPEN_S` the answer is yes once, and then no for another `OPEN_S`."""
        until_s = self._opens_until_s.get(circuit)
        if until_s is None:
            return True
        if self._clock_s() < until_s:
            return False
        self._opens_until_s[circuit] = self._clock_s() + OPEN_S
        return True

    def _forget_before(self, moment_s: float) -> None:
        """Servers named by users are many, so what nobody asks for any more is not kept."""
        for circuit in [known for known, moments in self._failures.items() if moments[-1] < moment_s]:
            if self._opens_until_s.get(circuit, 0.0) < moment_s:
                self._failures.pop(circuit)
                self._opens_until_s.pop(circuit, None)
