"""How busy the machine was during a run, and with whose work: a late reply is not always the product's."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from turncall import procfs

LOOK_EVERY_S: Final = 2.0
PROBE_EVERY_S: Final = 0.02
BUSY_SHARE: Final = 0.9
"""From here on, work waits for cores."""
LATE_MS: Final = 100.0


class Load(Struct, frozen=True, kw_only=True):
    """One run: cores in use (mean) by this run and its children, by everybody else, and taken by the host.

    ``most`` is the busiest moment, all together; ``lag_ms`` the 99th percentile by which this process woke up late.
    """

    cores: int
    own: float
    others: float
    steal: float
    most: float
    lag_ms: float

    @property
    def is_heavy(self) -> bool:
        """Whether work had to wait for cores, so that times say something about the machine."""
        return self.most >= BUSY_SHARE * self.cores or self.lag_ms >= LATE_MS

    def __str__(self) -> str:
        return (
            f"of {self.cores} cores this run had {self.own:.1f}, others {self.others:.1f}, the host took"
            f" {self.steal:.1f}; all were used up to {self.most:.1f}; this loop woke up to {self.lag_ms:.0f} ms late"
        )


class Watch:
    """Who used the cores, and how late this process woke up."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []
        self._own_s = self._busy_s = self._steal_s = self._lasted_s = self._most = 0.0

    async def probe(self) -> None:
        """Notes how late this process wakes up, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + PROBE_EVERY_S
            await asyncio.sleep(PROBE_EVERY_S)
            self._late_ms.append(1000 * (loop.time() - due_s))

    async def look(self) -> None:
        """Notes who uses the cores, until cancelled."""
        loop = asyncio.get_running_loop()
        at_s, used, own = loop.time(), procfs.times(), procfs.tree(os.getpid())
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            then_s, before, mine = at_s, used, own
            at_s, used, own = loop.time(), procfs.times(), procfs.tree(os.getpid())
            busy_s, lasted_s = used.busy_s - before.busy_s, at_s - then_s
            self._own_s += sum(spent_s - mine.get(pid, 0.0) for pid, spent_s in own.items())
            self._busy_s += busy_s
            self._steal_s += used.steal_s - before.steal_s
            self._lasted_s += lasted_s
            self._most = max(self._most, (busy_s + used.steal_s - before.steal_s) / lasted_s)

    def load(self) -> Load:
        """What was noted so far."""
        lasted_s = self._lasted_s or 1.0
        late_ms = sorted(self._late_ms) or [0.0]
        return Load(
            cores=os.cpu_count() or 1,
            own=round(self._own_s / lasted_s, 2),
            others=round(max(0.0, self._busy_s - self._own_s) / lasted_s, 2),
            steal=round(self._steal_s / lasted_s, 2),
            most=round(self._most, 2),
            lag_ms=round(late_ms[int(0.99 * (len(late_ms) - 1))], 1),
        )


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    """Watches the machine as long as the block runs."""
    watch = Watch()
    tasks = [asyncio.create_task(watch.probe()), asyncio.create_task(watch.look())]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
