"""A whole installation on this machine: both planes as processes over servers that already run."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from turncall.process import Process, free_port
from turncall_devstack.environment import control_environment, media_environment
from turncall_devstack.keys import Keys
from turncall_devstack.stack import Urls

HOST: Final = "127.0.0.1"
CONTROL_READY_S: Final = 90.0
WORKER_READY_S: Final = 120.0
MIGRATED_S: Final = 120.0


class Carrier(Struct, frozen=True, kw_only=True):
    """The emulated account that the installation uses; ``base_url`` has no path. The emulator plays tests' callers."""

    base_url: str
    account_sid: str
    auth_token: str


class InstallationFailed(Exception):
    """A part of the installation did not start; the message says which and shows the end of its log."""


class Installation:
    """Control and media workers as children of this process, each with a log in ``folder``.

    ``async with`` starts control (after migrating the database) and ``workers`` workers; more come by `add_worker` and
    `add_control`. ``public_url`` is where carriers reach control, if that is a balancer before its replicas.
    """

    def __init__(
        self,
        folder: Path,
        urls: Urls,
        keys: Keys,
        carrier: Carrier,
        *,
        slots: int = 20,
        workers: int = 1,
        control_port: int | None = None,
        public_url: str | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.keys = keys
        self.workers: list[Process] = []
        self.controls: list[Process] = []
        self.ports: dict[Process, int] = {}
        self.control_url = f"http://{HOST}:{control_port or free_port()}"
        self._public_url = public_url or self.control_url
        self._urls = urls
        self._carrier = carrier
        self._slots = slots
        self._first_workers = workers
        self._extra = dict(extra or {})
        self._ready_urls: dict[Process, str] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(self._start_control(), *(self.add_worker() for _ in range(self._first_workers)))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def add_worker(self, *, slots: int | None = None, extra: Mapping[str, str] | None = None) -> Process:
        """Starts one more media worker and returns once it takes calls."""
        index = len(self.workers) + 1
        url = f"{HOST}:{free_port()}"
        environment = self._media_environment(url, index, slots or self._slots) | dict(extra or {})
        worker = Process(f"worker {index}", ("turncall_media", "run"), environment, self._log(f"worker-{index}"))
        self.workers.append(worker)
        self.ports[worker] = int(url.rpartition(":")[2])
        await self._run(worker, f"http://{url}/ready", WORKER_READY_S)
        return worker

    async def start_again(self, process: Process) -> None:
        """Starts a part that has ended on its port, and a worker on its spool, as a supervisor does; returns once it
        is ready.

        A worker adopts the facts and recordings that its predecessor could not hand over.
        """
        await process.start()
        await process.until_ready(self._ready_urls[process], WORKER_READY_S)

    async def add_control(self) -> Process:
        """Starts one more control replica, on a port of its own in ``ports``; returns once it answers."""
        return await self._add_control(f"http://{HOST}:{free_port()}")

    async def _start_control(self) -> None:
        await self._migrate()
        await self._add_control(self.control_url)

    async def _add_control(self, url: str) -> Process:
        index = len(self.controls) + 1
        name = "control" if index == 1 else f"control {index}"
        log = self._log(name.replace(" ", "-"))
        control = Process(name, ("turncall_control", "serve"), self._control_environment(url), log)
        self.controls.append(control)
        self.ports[control] = int(url.rpartition(":")[2])
        await self._run(control, f"{url}/ready", CONTROL_READY_S)
        return control

    async def _run(self, process: Process, ready_url: str, timeout_s: float) -> None:
        self._ready_urls[process] = ready_url
        await process.start()
        self._stack.push_async_callback(process.stop)
        await process.until_ready(ready_url, timeout_s)

    async def _migrate(self) -> None:
        migration = Process(
            "migrate",
            ("turncall_control", "migrate"),
            self._control_environment(self.control_url),
            self._log("migrate"),
        )
        await migration.start()
        if code := await migration.ended(MIGRATED_S):
            raise InstallationFailed(f"migrate ended with {code}; its log ends:\n{migration.tail()}")

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _own_environment(self) -> dict[str, str]:
        """What a child inherits: this process's environment without settings of another installation."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TURNCALL_") or name.startswith("TURNCALL_VENDOR_KEY_")
        }
        return inherited | self._extra

    def _control_environment(self, url: str) -> dict[str, str]:
        host, _, port = url.removeprefix("http://").partition(":")
        return (
            self._own_environment()
            | control_environment(self._urls, self.keys)
            | {
                "TURNCALL_HTTP_HOST": host,
                "TURNCALL_HTTP_PORT": port,
                "TURNCALL_PUBLIC_URL": self._public_url,
                "TURNCALL_TWILIO_ACCOUNT_SID": self._carrier.account_sid,
                "TURNCALL_TWILIO_AUTH_TOKEN": self._carrier.auth_token,
                "TURNCALL_TWILIO_BASE_URL": self._carrier.base_url,
                "TURNCALL_TEST_LINES": "emulator",
            }
        )

    def _media_environment(self, url: str, index: int, slots: int) -> dict[str, str]:
        host, _, port = url.partition(":")
        return (
            self._own_environment()
            | media_environment(self._urls, self.keys)
            | {
                "TURNCALL_MEDIA_HOST": host,
                "TURNCALL_MEDIA_PORT": port,
                "TURNCALL_MEDIA_URL": f"ws://{url}",
                "TURNCALL_SLOTS": str(slots),
                # Servers, carrier and callers share this machine's cores: a busy moment of theirs refuses nobody here.
                "TURNCALL_MAX_LAG_MS": "2000",
                "TURNCALL_SPOOL_DIR": str(self.folder / "spool" / f"worker-{index}"),
            }
        )
