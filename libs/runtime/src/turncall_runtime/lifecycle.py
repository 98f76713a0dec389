"""The life of a process: start in order, serve, drain on SIGTERM, stop at once on SIGINT, close in reverse order."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from enum import StrEnum

from msgspec import Struct

Start = Callable[[AsyncExitStack], Awaitable[None]]
"""Enters the process's resources on the stack, in the order in which they need each other."""

Drain = Callable[[], Awaitable[None]]
"""Returns when the work in hand is done. New work is refused by those who ask `Life.is_ready`."""


class Phase(StrEnum):
    """Where a process is. It only moves forward."""

    starting = "starting"
    ready = "ready"
    draining = "draining"
    stopped = "stopped"


class Readiness(Struct, frozen=True, kw_only=True):
    """What ``/ready`` answers: 200 when ``is_ready``, else 503."""

    is_ready: bool
    phase: Phase
    failing: tuple[str, ...]


class Life:
    """The flags of one process: what phase it is in, who asked it to end, and which of its checks fail."""

    def __init__(self) -> None:
        self._phase = Phase.starting
        self._checks: dict[str, Callable[[], bool]] = {}
        self._drain_asked = asyncio.Event()
        self._stop_asked = asyncio.Event()

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self._phase

    @property
    def is_ready(self) -> bool:
        """Whether new work is welcome: started, not draining, every check passes."""
        return self.readiness().is_ready

    def check(self, name: str, passes: Callable[[], bool]) -> None:
        """Adds a condition of readiness, such as a live connection. It is asked on each probe, so it must not wait."""
        self._checks[name] = passes

    def readiness(self) -> Readiness:
        """The answer to a readiness probe, with the names of the checks that fail."""
        failing = tuple(name for name, passes in self._checks.items() if not passes())
        return Readiness(is_ready=self._phase is Phase.ready and not failing, phase=self._phase, failing=failing)

    def drain(self) -> None:
        """Asks the process to finish its work and end, as SIGTERM does. Asking again changes nothing."""
        self._drain_asked.set()

    def stop(self) -> None:
        """Asks the process to end at once, as SIGINT does; a drain under way is cut short."""
        self._stop_asked.set()


async def run(life: Life, start: Start, drain: Drain, drain_timeout_s: float) -> bool:
    """Runs a process until it is told to end; returns after its resources were closed, last opened first.

    SIGTERM: ``drain`` is awaited for ``drain_timeout_s`` at most, then the resources close. SIGINT closes them at
    once, in any phase. The answer is whether all work was finished: False after SIGINT or a drain that took too long.
    A failure in ``start`` or ``drain`` closes what was opened and rises. Call it in the main thread, once for a
    ``life``.
    """
    loop = asyncio.get_running_loop()
    asked = {signal.SIGTERM: life.drain, signal.SIGINT: life.stop}
    for number, act in asked.items():
        loop.add_signal_handler(number, act)
    try:
        async with AsyncExitStack() as resources:
            return await _live(life, start(resources), drain, drain_timeout_s)
    finally:
        life._phase = Phase.stopped
        for number in asked:
            loop.remove_signal_handler(number)


async def _live(life: Life, starting: Awaitable[None], drain: Drain, drain_timeout_s: float) -> bool:
    drain_asked = asyncio.create_task(_set(life._drain_asked))
    stop_asked = asyncio.create_task(_set(life._stop_asked))
    try:
        if not await _until(starting, drain_asked, stop_asked):
            return drain_asked.done()
        life._phase = Phase.ready
        await asyncio.wait({drain_asked, stop_asked}, return_when=asyncio.FIRST_COMPLETED)
        life._phase = Phase.draining
        try:
            async with asyncio.timeout(drain_timeout_s) as limit:
                return await _until(drain(), stop_asked)
        except TimeoutError:
            if not limit.expired():
                raise
            return False
    finally:
        drain_asked.cancel()
        stop_asked.cancel()


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _until(work: Awaitable[None], *ends: asyncio.Task[None]) -> bool:
    """Whether ``work`` finished before any of ``ends`` did; if not it is cancelled and awaited. Its failure rises."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finished = task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return finished
