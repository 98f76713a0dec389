"""``python -m turncall_testkit.bench.pace CORE``: how fast a core is, five times a second, while others use it.

A core shared with a sibling, or throttled, does less in a second of its time; a figure in CPU time says so only with
this beside it.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Final

TURNS: Final = 4_000
EVERY_S: Final = 0.2
FAST_MS: Final = 0.25
"""What the loop takes on the machine whose figures the README shows, when nothing else runs on its metal."""


def loop_ms() -> float:
    """Milliseconds of CPU that a fixed loop of Python took."""
    began_s, total = time.thread_time(), 0
    for number in range(TURNS):
        total += number * number % 7
    return 1000 * (time.thread_time() - began_s)


class Pace:
    """What was measured so far."""

    def __init__(self) -> None:
        self._loops_ms: list[float] = []

    def note(self, loop_ms: float) -> None:
        """One more loop."""
        self._loops_ms.append(loop_ms)

    def mark(self) -> int:
        """This moment, for `slowness`."""
        return len(self._loops_ms)

    def slowness(self, since: int = 0) -> float:
        """By how much the core was slower than `FAST_MS` says, since a `mark`: the median; 1 without a measurement."""
        measured = self._loops_ms[since:]
        return median(measured) / FAST_MS if measured else 1.0


@asynccontextmanager
async def pacing(core: int) -> AsyncIterator[Pace]:
    """Measures a core from another process as long as the block runs, with 0.2 % of it."""
    pace = Pace()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turncall_testkit.bench.pace", str(core), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None  # asked for above
    stream = child.stdout

    async def read() -> None:
        while line := await stream.readline():
            pace.note(float(line))

    reading = asyncio.create_task(read())
    try:
        yield pace
    finally:
        child.terminate()
        await child.wait()
        await reading


def main() -> None:
    """Prints a figure a line until SIGTERM."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    while True:
        sys.stdout.write(f"{loop_ms():.4f}\n")
        sys.stdout.flush()
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
