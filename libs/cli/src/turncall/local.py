"""All of TurnCall on this machine, for a first evening: servers from wheels, the carrier emulator, both planes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import Final

import msgspec
from msgspec import Struct

from turncall.installation import Carrier, Installation
from turncall.process import Process, ProcessFailed, free_port
from turncall_devstack.stack import DevStack

FOLDER: Final = Path(".turncall")
STATE_FILE: Final = "running.json"
NUMBER: Final = "+15550100100"
SPARE_NUMBER: Final = "+15550100101"
"""Nobody's yet, for agents of one's own."""
CALLER: Final = "+15550100200"
ACCOUNT_SID: Final = "AC" + "0" * 31 + "1"
PHONE_READY_S: Final = 15.0
DOWN_WITHIN_S: Final = 30.0
LOOK_AFTER_WORKERS_S: Final = 0.3

Tell = Callable[[str], None]


class NotRunning(Exception):
    """Nothing runs in the folder; `make up` starts it."""


class State(Struct, frozen=True, kw_only=True):
    """What another command needs to reach the running installation. The file is its owner's alone."""

    pid: int
    control_url: str
    phone_url: str
    platform_key: str
    number: str
    api_key: str = ""


class Local(Struct, frozen=True, kw_only=True):
    """A running installation and how to reach its parts."""

    installation: Installation
    state: State


@asynccontextmanager
async def running(folder: Path, tell: Tell, *, control_port: int | None = None) -> AsyncIterator[Local]:
    """Starts everything in ``folder``, telling what came up after how long; leaving stops it, data stays. A server or a
    worker that ends meanwhile is started again.

    Raises `FolderInUse` when it runs there already, `ServerFailed`, `ProcessFailed` and `InstallationFailed` otherwise.
    """
    began = monotonic()
    async with _phone(folder) as (phone, carrier), DevStack(folder / "stack") as stack:
        tell(f"servers   Postgres, NATS, Valkey, S3 ({monotonic() - began:.1f} s)")
        await phone.until_ready(f"{carrier.base_url}/emulator/numbers", PHONE_READY_S)
        owned = f"{NUMBER} and {SPARE_NUMBER}"
        tell(f"carrier   {carrier.base_url}, an emulated Twilio that owns {owned} ({monotonic() - began:.1f} s)")
        async with Installation(folder, stack.urls, stack.keys, carrier, control_port=control_port) as installation:
            tell(f"TurnCall  {installation.control_url}, one media worker ({monotonic() - began:.1f} s)")
            state = State(
                pid=os.getpid(),
                control_url=installation.control_url,
                phone_url=carrier.base_url,
                platform_key=stack.keys.platform_key,
                number=NUMBER,
            )
            keepers = [
                asyncio.create_task(stack.keep(tell), name="servers"),
                asyncio.create_task(_keep_workers(installation, tell), name="workers"),
            ]
            try:
                yield Local(installation=installation, state=state)
            finally:
                for keeper in keepers:
                    keeper.cancel()
                await asyncio.gather(*keepers, return_exceptions=True)


@asynccontextmanager
async def _phone(folder: Path) -> AsyncIterator[tuple[Process, Carrier]]:
    """The emulator, started but not waited for: it comes up beside the servers."""
    port, token = free_port(), token_hex(16)
    arguments = ("serve", "--port", str(port), "--account-sid", ACCOUNT_SID, "--auth-token", token)
    numbers = ("--number", NUMBER, "--number", SPARE_NUMBER)
    process = Process("carrier", ("turncall_phone", *arguments, *numbers), os.environ, folder / "logs" / "carrier.log")
    await process.start()
    try:
        yield process, Carrier(base_url=f"http://127.0.0.1:{port}", account_sid=ACCOUNT_SID, auth_token=token)
    finally:
        await process.stop()


@asynccontextmanager
async def published(folder: Path, state: State) -> AsyncIterator[None]:
    """Lets other commands find the installation while it runs."""
    path = folder / STATE_FILE
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(state))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


async def _keep_workers(installation: Installation, tell: Tell) -> None:
    """Starts a worker again whenever one has ended, until cancelled: its callers hold the line meanwhile."""
    while True:
        await asyncio.sleep(LOOK_AFTER_WORKERS_S)
        for worker in installation.workers:
            if not worker.is_running:
                tell(f"{worker.name} ended; starting it again")
                try:
                    await installation.start_again(worker)
                except ProcessFailed as error:
                    tell(f"{error}")


def with_key(state: State, api_key: str) -> State:
    """The state with the key of a project, for commands that speak to the API."""
    return msgspec.structs.replace(state, api_key=api_key)


def made(folder: Path) -> Path:
    """The folder, there and its owner's alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def found(folder: Path) -> State:
    """The installation that runs in ``folder``. Raises `NotRunning`."""
    try:
        state = msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=State)
        os.kill(state.pid, 0)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotRunning(f"nothing runs in {folder}; start it with: make up") from error
    return state


async def stop(folder: Path) -> None:
    """Ends the installation that runs in ``folder`` and returns once it is gone. Raises `NotRunning`."""
    state = found(folder)
    os.kill(state.pid, signal.SIGTERM)
    with suppress(NotRunning):
        async with asyncio.timeout(DOWN_WITHIN_S):
            while found(folder):  # noqa: ASYNC110 - another process ends
                await asyncio.sleep(0.1)
