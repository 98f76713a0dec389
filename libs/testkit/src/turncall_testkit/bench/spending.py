"""Whose time a figure is made of: CPU by process, samples of Python by module, and how fast the machine was."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from turncall import procfs
from turncall.procfs import Pid

LOOP_TURNS: Final = 200_000
SAMPLES_PER_S: Final = 200
SHOWN: Final = 14


class SamplerFailed(Exception):
    """py-spy could not look into the process; the message is its own. It needs ptrace: root, or a child's parent."""


def spent(pids: Mapping[str, Pid]) -> dict[str, float]:
    """Seconds of CPU that each of these processes has used, with its children."""
    return {name: sum(procfs.tree(pid).values()) for name, pid in pids.items()}


def per_second(units: int, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How many units each process would manage on a core of its own."""
    return {name: round(units / max(after[name] - before[name], 0.01)) for name in before}


def loop_ms() -> tuple[float, float]:
    """How long a fixed loop of Python took: milliseconds of CPU (the core's speed) and of the clock (who shares it)."""
    began_s, cpu_s, total = time.perf_counter(), time.process_time(), 0
    for number in range(LOOP_TURNS):
        total += number * number % 7
    return 1000 * (time.process_time() - cpu_s), 1000 * (time.perf_counter() - began_s)


def busiest(pid: Pid) -> Pid:
    """The one among a process and its children that has used most."""
    used_s = procfs.tree(pid)
    return max(used_s, key=lambda one: used_s[one])


async def sampled(pid: Pid, lasts_s: float, folder: Path, *, has_native: bool = False) -> dict[str, float]:
    """Where a Python process spends the time in which it holds the interpreter, or, with ``has_native``, in which it
    runs at all: shares by the innermost module of ours.

    Calls into libraries count for the module that made them, as ``module > library``. Raises `SamplerFailed`.
    """
    target = folder / f"samples-{pid}-{time.monotonic_ns()}.txt"
    sampler = await asyncio.create_subprocess_exec(
        *(
            "py-spy",
            "record",
            *(() if has_native else ("--gil",)),
            "--full-filenames",
            "--format",
            "raw",
            "--rate",
            str(SAMPLES_PER_S),
        ),
        *("--duration", str(max(1, round(lasts_s))), "--pid", str(pid), "--output", str(target)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await sampler.communicate()
    if sampler.returncode:
        raise SamplerFailed(said.decode(errors="replace")[-500:])
    return shares(target.read_text())


def shares(stacks: str) -> dict[str, float]:
    """Shares by place of py-spy's raw stacks (``outer (file:line);inner (file:line) count``), the largest first."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        counts[_place(frames.split(";"))] += int(count)
    total = counts.total() or 1
    return {place: round(count / total, 3) for place, count in counts.most_common(SHOWN)}


def _place(frames: list[str]) -> str:
    library = ""
    for frame in reversed(frames):
        path = frame.partition("(")[2].rpartition(":")[0]
        package, dot, module = path.partition("turncall_")[::2][-1].partition("/") if "turncall_" in path else ("",) * 3
        if dot:
            ours = f"{package}.{module.rpartition('/src/')[2].removesuffix('.py').replace('/', '.')}"
            return f"{ours} > {library}" if library else ours
        library = library or _library(path)
    return library or "elsewhere"


def _library(path: str) -> str:
    """The top folder of an installed package, or ``python`` for the standard library."""
    _, found, rest = path.partition("site-packages/")
    return rest.partition("/")[0] if found else "python" if os.sep in path else path
