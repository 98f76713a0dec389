"""The control plane as processes of a test."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import httpx


async def command(*arguments: str, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Starts ``python -m turncall_control`` with an environment of its own, in a process group of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TURNCALL_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "turncall_control",
        *arguments,
        env=kept | dict(environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


@asynccontextmanager
async def serving(environ: Mapping[str, str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """A serving process that answers, on a free port; killed at the end if it still runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await command("serve", environ={**environ, "TURNCALL_HTTP_PORT": str(port)})
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            async with asyncio.timeout(60):
                while True:
                    try:
                        await client.get("/health")
                        break
                    except httpx.TransportError:
                        assert process.returncode is None, (await process.communicate())[1].decode()
                        await asyncio.sleep(0.1)
            yield process, client
    finally:
        killed(process)
        await process.wait()


def killed(process: asyncio.subprocess.Process) -> None:
    """Kills a process and all that it started, as ``kill -9`` does; nothing if it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
