"""Which cores a process runs on. Linux only."""

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Final

from turncall.procfs import PROC, Pid

CORES: Final = frozenset(os.sched_getaffinity(0))
"""The first one is the measured worker's."""


def pin(pid: Pid, cores: Set[int]) -> None:
    """Has a process run on these cores only, with all threads that it has."""
    for thread in (PROC / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def beside_the_worker() -> Iterator[None]:
    """This process, and what it starts, keeps off the first core; a machine with one core has no other."""
    pin(os.getpid(), CORES - {min(CORES)} or CORES)
    try:
        yield
    finally:
        pin(os.getpid(), CORES)
