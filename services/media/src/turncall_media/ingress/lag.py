"""How late the event loop wakes its sleepers: the figure that says whether calls still get their turn."""

import asyncio
from collections import deque
from collections.abc import Callable
from math import ceil

PROBE_EVERY_S = 0.02
"""Seconds between two probes: one audio frame."""
WINDOW_S = 5.0
"""How far back the figure looks."""
STOOD_STILL_S = 2.0
"""With the half second between two beats, a worker that stood still for so long may have been taken for dead."""


class LagProbe:
    """Sleeps for one audio frame over and over and remembers how much longer it took.

    ``stood_still`` is told, in seconds, of each time that the process did not run for `STOOD_STILL_S`, before anything
    that came meanwhile has been worked on.
    """

    def __init__(self, stood_still: Callable[[float], None]) -> None:
        self._stood_still = stood_still
        self._late_s: deque[float] = deque(maxlen=round(WINDOW_S / PROBE_EVERY_S))

    @property
    def p99_ms(self) -> float:
        """99th percentile of the window, in milliseconds; 0 before the first probe."""
        return self.quantile_ms(0.99)

    def quantile_ms(self, share: float) -> float:
        """What this share of the window's probes was late by at most, in milliseconds; 0 before the first one."""
        if not self._late_s:
            return 0.0
        ordered = sorted(self._late_s)
        return round(ordered[ceil(share * len(ordered)) - 1] * 1000, 3)

    def note(self, late_s: float) -> None:
        """Adds one observation, in seconds."""
        self._late_s.append(max(0.0, late_s))
        if late_s >= STOOD_STILL_S:
            self._stood_still(late_s)

    async def run(self) -> None:
        """Probes until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE_EVERY_S
            await asyncio.sleep(PROBE_EVERY_S)
            self.note(loop.time() - due)
