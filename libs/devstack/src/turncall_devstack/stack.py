"""The four servers as one thing: started together in a folder, stopped together, each to be killed on its own."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from turncall_devstack import databases
from turncall_devstack.databases import DatabaseUrls
from turncall_devstack.keys import Keys, keys_of
from turncall_devstack.nats import nats
from turncall_devstack.ports import free_ports
from turncall_devstack.postgres import database_urls, postgres
from turncall_devstack.s3 import blobs_url, s3
from turncall_devstack.server import Process, Server, ServerFailed
from turncall_devstack.valkey import valkey

LOCK_TIMEOUT_S: Final = 3.0
LOOK_AGAIN_S: Final = 0.3
"""Between two looks for servers that have ended."""
"""How long a start waits for the servers of a stack that was killed a moment ago to be gone."""


class FolderInUse(Exception):
    """Another stack runs in the folder."""


class Urls(Struct, frozen=True, kw_only=True):
    """Where everything is. A field is what the variable of its name, ``TURNCALL_…``, holds."""

    database_migrate_url: str
    database_api_url: str
    database_system_url: str
    nats_url: str
    redis_url: str
    blobs_url: str
    blobs_access_key: str
    blobs_secret_key: str

    @property
    def s3_endpoint(self) -> str:
        """``http://host:port`` of the S3 server."""
        return parse_qs(urlsplit(self.blobs_url).query)["endpoint"][0]

    @property
    def s3_bucket(self) -> str:
        """The bucket that holds every object."""
        return urlsplit(self.blobs_url).netloc

    @property
    def database(self) -> DatabaseUrls:
        """The database under its three logins."""
        return DatabaseUrls(
            migrate=self.database_migrate_url, api=self.database_api_url, system=self.database_system_url
        )


class DevStack:
    """``async with DevStack(folder) as stack``: Postgres, NATS, Valkey and S3 over the data in ``folder``.

    Entering starts what is missing and raises `FolderInUse`, `MissingWheel` or `ServerFailed`; leaving stops all four.
    Data and keys stay, ports do not. Without ``durable`` Postgres and Valkey leave flushing to the system: faster, safe
    against killed processes, not against a power cut. If this process dies, so do the servers. Enter it in a thread
    that lives as long as the stack.
    """

    postgres: Server
    nats: Server
    redis: Server
    s3: Server
    urls: Urls
    keys: Keys

    def __init__(self, folder: Path, durable: bool = True) -> None:
        self._folder = folder.absolute()
        self._durable = durable
        self._lock = -1
        self._servers: tuple[Server, ...] = ()

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = await _locked(self._folder)
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def keep(self, tell: Callable[[str], None]) -> None:
        """Starts each server again that has ended by itself, until cancelled. Call it in the thread that entered."""
        while True:
            for server in self._servers:
                if server.pid is None:
                    tell(f"{server.name} ended; starting it again")
                    try:
                        await server.start()
                    except ServerFailed as error:
                        tell(f"{error}")
            await asyncio.sleep(LOOK_AGAIN_S)

    async def create_database(self, name: str, template: str | None = None) -> DatabaseUrls:
        """The addresses of a new database beside the stack's own; see `databases.create_database`."""
        return await databases.create_database(self.urls.database, name, template)

    async def drop_database(self, name: str) -> None:
        """Removes a database, cutting who is still connected."""
        await databases.drop_database(self.urls.database, name)

    async def _open(self) -> None:
        folder, ports = self._folder, free_ports(4)
        self.keys = keys_of(folder)
        self.urls = _urls(self.keys, *ports)
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)

        def process(name: str) -> Process:
            return Process(log=logs / f"{name}.log", lock=self._lock)

        self.nats = Server(nats(folder / "nats", ports[1]), process("nats"))
        self.redis = Server(valkey(folder / "redis", ports[2], self._durable), process("redis"))
        self.s3 = Server(s3(folder / "s3", ports[3], self.keys), process("s3"))
        self._servers = (self.nats, self.redis, self.s3)

        async def start_postgres() -> None:
            """Its cluster may have to be made first; the others need not wait for that."""
            recipe = await postgres(folder / "postgres", ports[0], self.keys, self._durable, process("postgres"))
            self.postgres = Server(recipe, process("postgres"))
            self._servers = (*self._servers, self.postgres)
            await self.postgres.start()

        await _all(start_postgres(), *(server.start() for server in self._servers))

    async def _close(self) -> None:
        try:
            await _all(*(server.stop() for server in self._servers))
        finally:
            os.close(self._lock)


async def _all(*works: Coroutine[None, None, None]) -> None:
    """Runs all of them to their end; the first failure rises once none of them runs any more."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _locked(folder: Path) -> int:
    """The descriptor of the folder's lock. The servers inherit it, so it is held until the last of them is gone.

    Raises `FolderInUse` when another holds it for `LOCK_TIMEOUT_S`.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        async with asyncio.timeout(LOCK_TIMEOUT_S):
            while not _try_lock(lock):  # noqa: ASYNC110 - another process holds it
                await asyncio.sleep(0.02)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, TimeoutError):
            raise FolderInUse(f"another stack runs in {folder}; stop it or choose another folder") from error
        raise
    return lock


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _urls(keys: Keys, postgres_port: int, nats_port: int, redis_port: int, s3_port: int) -> Urls:
    database = database_urls("127.0.0.1", postgres_port, keys)
    return Urls(
        database_migrate_url=database.migrate,
        database_api_url=database.api,
        database_system_url=database.system,
        nats_url=f"nats://127.0.0.1:{nats_port}",
        redis_url=f"redis://127.0.0.1:{redis_port}/0",
        blobs_url=blobs_url("127.0.0.1", s3_port),
        blobs_access_key=keys.s3_access_key,
        blobs_secret_key=keys.s3_secret_key,
    )
