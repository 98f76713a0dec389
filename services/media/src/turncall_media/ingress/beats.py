"""The worker's pulse: its newest state, twice a second, to whoever places calls."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from turncall_bus.bus import Away, Bus
from turncall_proto.codec import encode
from turncall_proto.placement import BEAT_EVERY_S, WorkerBeat


class Beats:
    """Tells ``read()`` on one subject, every `BEAT_EVERY_S` and whenever something changed that should not wait."""

    def __init__(self, bus: Bus, subject: str, read: Callable[[], WorkerBeat]) -> None:
        self._bus = bus
        self._subject = subject
        self._read = read
        self._soon = asyncio.Event()

    def soon(self) -> None:
        """Has the next beat told at once."""
        self._soon.set()

    async def run(self) -> None:
        """Beats until cancelled. A beat that finds the bus away is worth nothing later and is dropped."""
        while True:
            self._soon.clear()
            with suppress(Away):
                await self._bus.tell(self._subject, encode(self._read()))
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_EVERY_S):
                    await self._soon.wait()
