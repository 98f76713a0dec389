"""The README's way from nothing to two agents on one number, run as it stands."""

import asyncio
import os
import re
import sys
from pathlib import Path

import msgspec

from turncall.local import State
from turncall.process import free_port

ROOT = Path(__file__).parents[2]
LASTS_S = 240.0


def tutorial() -> str:
    """The block of commands behind the marker."""
    found = re.search(r"<!-- tutorial -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


async def started(*command: str, folder: Path, **more: str) -> asyncio.subprocess.Process:
    """A command in ``folder``, what it says kept together."""
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **more},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def running(folder: Path) -> State:
    """What `turncall up` published, once it is up."""
    path = folder / ".turncall" / "running.json"
    async with asyncio.timeout(LASTS_S):
        while not (path.exists() and path.stat().st_size):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.2)
    return msgspec.json.decode(path.read_bytes(), type=State)


async def test_from_nothing_to_two_agents_on_a_number_as_the_readme_says(tmp_path: Path) -> None:
    """Each command succeeds: one of the two answers the caller, the server hears of it, the viewer changes nothing."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    up = await started(".venv/bin/turncall", "up", "--port", str(free_port()), folder=tmp_path)
    try:
        await running(tmp_path)
        shell = await started("bash", "-euo", "pipefail", "-c", tutorial(), folder=tmp_path, HOOKS=str(free_port()))
        async with asyncio.timeout(LASTS_S):
            told, _ = await shell.communicate()
    finally:
        up.terminate()
        await up.communicate()
    text = told.decode()
    assert shell.returncode == 0, text
    assert "We open at seven." in text
    assert re.search(r"^(brisk|warm)$", text, re.MULTILINE), text
    hooks = (tmp_path / ".turncall" / "hooks.log").read_text()
    assert "call.started" in hooks
    assert "call.ended" in hooks
    assert text.rstrip().endswith("which a viewer may not"), text
