"""Lossy news from live calls: told when there is room and a connection, dropped otherwise."""

import asyncio
from typing import Final

from turncall_bus.bus import Away, Bus
from turncall_media.counters import Counters

WAITING: Final = 1000
"""Messages that may wait for the bus; what comes on top is dropped."""


class LiveFeed:
    """One bounded queue and one task for all calls of a worker."""

    def __init__(self, bus: Bus, counters: Counters) -> None:
        self._bus = bus
        self._counters = counters
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(WAITING)

    def tell(self, subject: str, data: bytes) -> None:
        """Hands over one message; returns at once, never raises."""
        try:
            self._waiting.put_nowait((subject, data))
        except asyncio.QueueFull:
            self._counters.whispers.labels("crowded_out").inc()

    async def run(self) -> None:
        """Tells what was handed over, in order, until cancelled."""
        while True:
            subject, data = await self._waiting.get()
            try:
                await self._bus.tell(subject, data)
            except Away:
                self._counters.whispers.labels("away").inc()
            else:
                self._counters.whispers.labels("told").inc()
