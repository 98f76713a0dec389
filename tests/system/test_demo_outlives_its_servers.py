"""The demonstration itself, as `make demo` runs it, while its servers are killed one after another."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from turncall import procfs

PARTS = ("nats-server", "postgres", "valkey-server", "rclone", "turncall_media")
"""A word of each one's command line, in the order in which they are killed."""
LASTS_S = 200.0


def child(demo: int, word: str) -> int:
    """The process of this name that the demonstration has started."""
    for pid in sorted(procfs.tree(demo)):
        command = (procfs.PROC / str(pid) / "cmdline").read_bytes()
        if pid != demo and word.encode() in command:
            return pid
    raise AssertionError(f"no {word} runs under the demonstration")


async def test_a_demonstration_whose_servers_are_killed_ends_with_the_complete_record(tmp_path: Path) -> None:
    """kill -9 of NATS, Postgres, Valkey, S3 and the only media worker, each behind another sentence of the agent's: all
    are started again, the caller says again what was lost, and nothing is missing from the record."""
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turncall", "--folder", str(tmp_path / "demo"), "demo",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert demo.stdout is not None
    lines: list[str] = []
    parts = list(PARTS)
    try:
        async with asyncio.timeout(LASTS_S):
            while line := (await demo.stdout.readline()).decode():
                lines.append(line)
                if parts and "  agent   " in line:
                    os.kill(child(demo.pid, parts.pop(0)), signal.SIGKILL)
            code = await demo.wait()
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.wait()
    told = "".join(lines)
    assert code == 0, told
    assert not parts, told
    for part in ("nats", "postgres", "redis", "s3", "worker 1"):
        assert f"{part} ended; starting it again" in told
    assert "MISSING" not in told
