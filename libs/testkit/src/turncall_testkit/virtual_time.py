"""Time that a test owns: sleeps and deadlines pass at once, in their order."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class NobodyWakes(RuntimeError):
    """Every task waits for something that no timer and no other task will bring."""


class _Jumps(selectors.SelectSelector):
    """Moves the loop's clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NobodyWakes("every task waits, and no timer runs")
            self.elapsed_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer whenever nothing else is to be done.

    For code that waits on timers and on its own tasks. It does not wait for sockets or threads.
    """

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        """Seconds that have passed for the tasks of this loop."""
        return self._jumps.elapsed_s


def run[T](main: Coroutine[Any, Any, T]) -> T:
    """The result of ``main`` on a loop of its own with virtual time; for plain (not async) test functions."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
