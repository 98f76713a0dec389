"""One server process: start it, wait until it answers, stop it, kill it, start it again on its port."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, Final

from msgspec import Struct

from turncall_devstack import launch

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
_POLL_S = 0.005


class ServerFailed(Exception):
    """A server did not start, or ended by itself. The message names its log and quotes the end of it."""


class User(Struct, frozen=True):
    """Whom a process runs as."""

    uid: int
    gid: int


class Command(Struct, frozen=True, kw_only=True):
    """What is executed: program and arguments, in which folder, as whom, and the signal that ends it in good order."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    user: User
    stop_signal: signal.Signals = signal.SIGTERM
    environ: Mapping[str, str] = {}


class Recipe(Struct, frozen=True, kw_only=True):
    """How a server is run. ``answers`` returns when it is up and raises `OSError` while it is not."""

    command: Command
    port: int
    answers: Callable[[], Awaitable[None]]


class Process(Struct, frozen=True, kw_only=True):
    """What every child of a stack shares: where its output goes, and the lock that it holds as long as it lives."""

    log: Path
    lock: int


def spawn(command: Command, process: Process, stdin: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """``command`` as a running process, in a session of its own, which gets its stop signal when this process dies.

    Call it in a thread that lives as long as the server should: the kernel watches the thread that made the child.
    """
    head = [sys.executable, "-I", "-S", launch.__file__]
    who = [os.getpid(), command.stop_signal.value, command.user.uid, command.user.gid]
    with process.log.open("ab") as log:
        return subprocess.Popen(
            [*head, *map(str, who), *command.argv],
            cwd=command.folder,
            env={"PATH": "/usr/bin:/bin", "TZ": "UTC", **command.environ},
            stdin=stdin or subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(process.lock,),
        )


async def ended(child: subprocess.Popen[bytes], timeout_s: float) -> int:
    """The exit code of ``child``, negative for a signal. Raises `TimeoutError`."""
    async with asyncio.timeout(timeout_s):
        while (code := child.poll()) is None:  # noqa: ASYNC110 - a child that any loop may wait for has no event
            await asyncio.sleep(_POLL_S)
    return code


async def run_once(command: Command, process: Process, stdin: IO[bytes] | None = None) -> None:
    """Runs a command to its end. Raises `ServerFailed` unless it succeeds within `START_TIMEOUT_S`."""
    child = spawn(command, process, stdin)
    try:
        code = await ended(child, START_TIMEOUT_S)
    except TimeoutError as error:
        raise _failure(command.name, process.log, f"did not finish in {START_TIMEOUT_S:.0f} s") from error
    finally:
        _kill(child)
    if code != 0:
        raise _failure(command.name, process.log, f"exited with {code}")


class Server:
    """A server that may be stopped or killed and started again; port and data stay. Owned by its `DevStack`."""

    def __init__(self, recipe: Recipe, process: Process) -> None:
        self._recipe = recipe
        self._process = process
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Which server it is: postgres, nats, redis or s3."""
        return self._recipe.command.name

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1, the same for its whole life."""
        return self._recipe.port

    @property
    def log(self) -> Path:
        """The file that holds what it printed."""
        return self._process.log

    @property
    def pid(self) -> int | None:
        """Its process id, None while it is down."""
        return self._child.pid if self._child and self._child.poll() is None else None

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Returns when it answers; does nothing when it runs. Raises `ServerFailed`."""
        if self.pid is not None:
            return
        self._child = child = spawn(self._recipe.command, self._process)
        try:
            async with asyncio.timeout(timeout_s):
                await answered(self._recipe.answers, lambda: self._check(child))
        except BaseException as error:
            _kill(child)
            if isinstance(error, TimeoutError):
                raise _failure(self.name, self.log, f"did not answer within {timeout_s:.0f} s") from error
            raise

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends it in good order; does nothing when it is down. After ``timeout_s`` it is killed instead."""
        if (child := self._child) is None or child.poll() is not None:
            return
        child.send_signal(self._recipe.command.stop_signal)
        try:
            await ended(child, timeout_s)
        except TimeoutError:
            _kill(child)

    async def kill(self) -> None:
        """``kill -9``; returns when it is gone. What it had not yet written is lost, as in a crash."""
        if self._child is not None:
            _kill(self._child)

    def _check(self, child: subprocess.Popen[bytes]) -> None:
        if (code := child.poll()) is not None:
            raise _failure(self.name, self.log, f"exited with {code} while it started")


async def answered(answers: Callable[[], Awaitable[None]], check: Callable[[], None]) -> None:
    """Returns once ``answers`` does so without an `OSError`; ``check`` is asked before each attempt, and may raise."""
    while True:
        check()
        try:
            return await answers()
        except OSError:
            await asyncio.sleep(_POLL_S)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL ends a process within milliseconds, so this waits for it in place."""
    if child.poll() is None:
        child.kill()
        child.wait(STOP_TIMEOUT_S)


def _failure(name: str, log: Path, what: str) -> ServerFailed:
    tail = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
    return ServerFailed("\n  ".join([f"{name} {what}; the end of {log}:", *tail]))
