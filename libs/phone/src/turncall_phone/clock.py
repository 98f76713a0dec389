"""Time as the carrier sees it: real, or stepped by a test."""

import asyncio
import heapq
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the emulator asks of time."""

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back; its zero means nothing."""
        ...

    def now(self) -> datetime:
        """Aware UTC wall time."""
        ...

    async def sleep_until(self, at_s: float) -> None:
        """Return when monotonic_s() has reached `at_s`; at once when it has passed."""
        ...


async def sleep(clock: Clock, seconds: float) -> None:
    """Return `seconds` of `clock` later."""
    await clock.sleep_until(clock.monotonic_s() + seconds)


class RealClock:
    """The clock of the machine."""

    def monotonic_s(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def now(self) -> datetime:
        """Aware UTC wall time."""
        return datetime.now(UTC)

    async def sleep_until(self, at_s: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(0.0, at_s - time.monotonic()))


class SteppedClock:
    """A clock that moves only when told to: what waits on it is woken in order of its deadlines."""

    def __init__(self, *, start: datetime) -> None:
        self._start = start
        self._at_s = 0.0
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def monotonic_s(self) -> float:
        """Seconds advanced since the start."""
        return self._at_s

    def now(self) -> datetime:
        """The start plus what was advanced."""
        return self._start + timedelta(seconds=self._at_s)

    async def sleep_until(self, at_s: float) -> None:
        """Wait until `advance` has carried the clock to `at_s`."""
        if at_s <= self._at_s:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiters, (at_s, self._count, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Move forward by `seconds`, stopping at each deadline so that its waiter runs at its own time."""
        target_s = self._at_s + seconds
        await _let_others_run()
        while self._waiters and self._waiters[0][0] <= target_s:
            at_s, _, waiter = heapq.heappop(self._waiters)
            self._at_s = max(self._at_s, at_s)
            if not waiter.done():
                waiter.set_result(None)
            await _let_others_run()
        self._at_s = target_s


async def _let_others_run() -> None:
    # A woken task may need a few turns of the loop (a queue, a task it started) to reach its next wait.
    for _ in range(8):
        await asyncio.sleep(0)
