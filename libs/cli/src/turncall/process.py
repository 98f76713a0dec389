"""One child process with a log file: started, watched until it is ready, stopped or killed."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process as Child
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

LOG_TAIL_LINES = 15


class ProcessFailed(Exception):
    """A child ended early or never became ready; the message carries the end of its log."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A Python module run as ``python -m``, in a session of its own so that Ctrl-C here does not reach it unasked."""

    def __init__(self, name: str, module: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._command = (sys.executable, "-m", *module)
        self._environment = dict(environment)
        self._log = log
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """The process id of the running child. Raises `ProcessFailed` when there is none."""
        if self._child is None:
            raise ProcessFailed(f"{self.name} is not running")
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the child was started and has not ended."""
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        """Starts the child with its output appended to the log."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def until_ready(self, url: str, timeout_s: float) -> None:
        """Returns once ``url`` answers 200. Raises `ProcessFailed` when the child ends first or the time runs out."""
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            try:
                async with asyncio.timeout(timeout_s):
                    while not await self._answers(client, url):  # noqa: ASYNC110 - readiness is asked over HTTP
                        await asyncio.sleep(0.05)
            except TimeoutError as error:
                raise ProcessFailed(
                    f"{self.name} was not ready within {timeout_s:g} s; {self._log} ends:\n{self.tail()}"
                ) from error

    async def _answers(self, client: httpx.AsyncClient, url: str) -> bool:
        if not self.is_running:
            raise ProcessFailed(f"{self.name} ended at once; {self._log} ends:\n{self.tail()}")
        try:
            return (await client.get(url)).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def stop(self, timeout_s: float = 15.0) -> int:
        """Asks the child to stop (SIGTERM), kills it when it has not within ``timeout_s``; its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(timeout_s)

    async def ended(self, timeout_s: float) -> int:
        """Waits for the end of the child and returns its exit code; kills it when the time runs out."""
        if self._child is None:
            return 0
        try:
            async with asyncio.timeout(timeout_s):
                return await self._child.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self._child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; a child that has ended is left alone."""
        if self.is_running:
            os.kill(self.pid, number)

    def tail(self) -> str:
        """The last lines of the log."""
        if not self._log.exists():
            return "(no log)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
