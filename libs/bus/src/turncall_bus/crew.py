"""The loop of a work queue: jobs side by side, each held while it is worked on, given back if it cannot be finished."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from turncall_bus.backoff import pause_s
from turncall_bus.bus import BusError, Delivered, Postponed
from turncall_bus.handlers import finish
from turncall_bus.trials import FIRST_PAUSE_S, OUTAGE_PAUSE_S, Park, Source, Trials

HOLDS_PER_LEASE: Final = 3
"""How often within a lease the server is told that a job is still worked on: two may get lost."""

_log = logging.getLogger(__name__)

type Work = Callable[[Delivered], Awaitable[None]]


class Crew:
    """Works on ``at_once`` messages of one durable consumer side by side, until closed.

    A message that is worked on is held again and again, so ``lease_s`` says how soon another process takes over what a
    dead one had, not how long work may last.
    """

    def __init__(
        self, source: Source, work: Work, park: Park, *, name: str, at_once: int, lease_s: float, park_after: int
    ) -> None:
        self._source = source
        self._work = work
        self._trials = Trials(source, park, name=name, park_after=park_after)
        self._name = name
        self._at_once = at_once
        self._hold_every_s = lease_s / HOLDS_PER_LEASE
        self._jobs: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._pulling = asyncio.create_task(self._pull(), name=f"work {name}")

    async def close(self) -> None:
        """Takes nothing more on and waits for the jobs in hand; cancelled meanwhile, it cuts them off and gives them
        back at once. Safe to call twice."""
        self._pulling.cancel()
        try:
            await finish({self._pulling, *self._jobs})
        finally:
            await asyncio.shield(self._give_back())

    async def _give_back(self) -> None:
        await finish(set(self._jobs))
        await self._source.close()

    async def _pull(self) -> None:
        failures = 0
        while True:
            await self._room.wait()
            try:
                for message in await self._source.pull(self._at_once - len(self._jobs), 0.0):
                    self._begin(message)
                failures = 0
            except BusError as error:
                failures += 1
                _log.warning("bus: work on %s waits: %s", self._name, error)
                await asyncio.sleep(pause_s(failures, first_s=FIRST_PAUSE_S, most_s=OUTAGE_PAUSE_S))

    def _begin(self, message: Delivered) -> None:
        task = asyncio.create_task(self._do(message), name=f"job {self._name} {message.stream_seq}")
        self._jobs.add(task)
        task.add_done_callback(self._ended)
        if len(self._jobs) >= self._at_once:
            self._room.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        self._room.set()

    async def _do(self, message: Delivered) -> None:
        successes_before = self._trials.successes
        holding = asyncio.create_task(self._hold(message), name=f"hold {self._name} {message.stream_seq}")
        try:
            await self._work(message)
        except asyncio.CancelledError:
            await self._source.again(message, 0.0)
            raise
        except Postponed as later:
            await self._source.again(message, later.delay_s)
        except Exception as error:  # noqa: BLE001 - the boundary of one job: whatever it raised, it comes again
            await self._trials.failed(message, error, successes_before)
        else:
            self._trials.successes += 1
            await self._trials.passed(message)
        finally:
            holding.cancel()

    async def _hold(self, message: Delivered) -> None:
        while True:
            await asyncio.sleep(self._hold_every_s)
            await self._source.hold(message)
