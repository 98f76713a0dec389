"""What the kernel says of processes: CPU, memory, descriptors, parents. Linux only (proc(5))."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

Pid = int


class Times(Struct, frozen=True, kw_only=True):
    """Seconds of all cores since the machine started; ``steal_s`` went to other machines on the same metal."""

    busy_s: float
    steal_s: float


def times() -> Times:
    """How the machine has spent its cores."""
    user, nice, system, _, _, irq, softirq, steal = map(int, (PROC / "stat").read_text().splitlines()[0].split()[1:9])
    return Times(busy_s=(user + nice + system + irq + softirq) / _TICKS_PER_S, steal_s=steal / _TICKS_PER_S)


def used_s(pid: Pid) -> float:
    """Seconds of CPU that a process has used, its children left out. Raises `OSError` when it has ended."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def tree(root: Pid) -> dict[Pid, float]:
    """``root`` and all that descend from it, with the seconds of CPU each has used."""
    parents: dict[Pid, Pid] = {}
    used_s: dict[Pid, float] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                pid = int(folder.name)
                parents[pid] = int(fields[1])
                used_s[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return {pid: used_s[pid] for pid in used_s if _descends(pid, root, parents)}


def _descends(pid: Pid, root: Pid, parents: dict[Pid, Pid]) -> bool:
    while pid not in (root, 0):
        pid = parents.get(pid, 0)
    return pid == root


def resident_bytes(pid: Pid) -> int:
    """Memory that a process holds; 0 when it has ended."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def descriptors(pid: Pid) -> int:
    """How many files and sockets a process has open; 0 when it has ended."""
    try:
        return len(os.listdir(PROC / str(pid) / "fd"))
    except OSError:
        return 0
