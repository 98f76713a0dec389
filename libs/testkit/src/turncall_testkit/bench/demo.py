"""The bench of the demonstration: a fresh checkout without any cache until the end of its first call, and again."""

import asyncio
import os
import re
import shutil
import time
from pathlib import Path
from typing import Final

from turncall_testkit.bench.measured import Measured, Size, figure
from turncall_testkit.bench.spending import loop_ms
from turncall_testkit.chaos.machine import watching

WITHIN_S: Final = 900.0
_LASTED: Final = re.compile(r"^ +status .*, ([\d.]+) s$", re.MULTILINE)
"""How long the conversation was, in the record that the demonstration shows."""


class Failed(Exception):
    """The demonstration, or cloning it, ended with an error; the message is the end of what was printed."""


async def demo(size: Size, folder: Path) -> Measured:
    """What is committed, cloned into an empty folder; ``make demo`` there, twice. Raises `Failed`."""
    firsts_s, agains_s, loops_ms = list[float](), list[float](), list[tuple[float, float]]()
    async with watching() as watch:
        for number in range(size.rounds):
            loops_ms.append(loop_ms())
            room = folder / f"demo-{number}"
            await _ran(Path.cwd(), room, "git", "clone", "--quiet", "--shared", ".", str(room / "checkout"))
            firsts_s.append((await _demonstrated(room))[0])
            lasted_s, conversation_s = await _demonstrated(room)
            agains_s.append(lasted_s - conversation_s)
            shutil.rmtree(room)
        load = watch.load()
    return Measured(
        unit="demonstrations",
        figures=(
            figure(
                "P10", "demo", "first one in a fresh checkout, without a cache", "s", firsts_s, 300, is_upward=False
            ),
            figure("P10", "demo", "again, beside the conversation", "s", agains_s, 20, is_upward=False),
        ),
        capacities=({},),
        profile={},
        load=load,
        loops_ms=tuple(loops_ms),
        counted={"demonstrations": 2 * size.rounds},
    )


def conversation_s(printed: str) -> float:
    """How long the demonstration's conversation was, by what it printed. Raises `Failed`."""
    found = _LASTED.search(printed)
    if found is None:
        raise Failed(printed[-2_000:])
    return float(found[1])


async def _demonstrated(room: Path) -> tuple[float, float]:
    """How long ``make demo`` took, and how much of it was conversation."""
    began_s = time.monotonic()
    printed = await _ran(room / "checkout", room, "make", "demo")
    return time.monotonic() - began_s, conversation_s(printed)


async def _ran(where: Path, room: Path, *command: str) -> str:
    """What a command printed that knows nothing of this process's environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TURNCALL_", "VIRTUAL_ENV"))}
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=where,
        env=clean | {"UV_CACHE_DIR": str(room / "uv"), "PIP_NO_CACHE_DIR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(WITHIN_S):
        said, _ = await child.communicate()
    if child.returncode:
        raise Failed(said.decode(errors="replace")[-2_000:])
    return said.decode(errors="replace")
