"""The stack out of public images, where Docker answers."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import docker
import psycopg
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from turncall_blobs import open_store
from turncall_devstack import Urls, nats, postgres, s3, valkey
from turncall_devstack.keys import Keys, new_keys
from turncall_devstack.server import answered

POSTGRES_IMAGE: Final = "pgvector/pgvector:pg18"
NATS_IMAGE: Final = "nats:2.15"
VALKEY_IMAGE: Final = "valkey/valkey:9"
RCLONE_IMAGE: Final = "rclone/rclone:1.75"

START_TIMEOUT_S: Final = 120.0
"""For one container whose image is there."""

DOCKER_TIMEOUT_S: Final = 2


class DockerAbsent(Exception):
    """Containers were asked for and Docker does not answer."""


@asynccontextmanager
async def containers() -> AsyncIterator[Urls]:
    """The addresses of four servers in containers, which are removed at the end. Raises `DockerAbsent`."""
    _ask_docker()
    keys = new_keys()
    async with AsyncExitStack() as running:
        database = await _run(running, _postgres(keys), 5432, lambda *at: postgres.answers(_superuser(at, keys)))
        bus = await _run(running, DockerContainer(NATS_IMAGE).with_command("-js"), 4222, nats.answers)
        redis = await _run(running, DockerContainer(VALKEY_IMAGE), 6379, valkey.answers)
        objects = await _run(running, _rclone(keys), 8080, s3.answers)
        logins = postgres.database_urls(*database, keys)
        urls = Urls(
            database_migrate_url=logins.migrate,
            database_api_url=logins.api,
            database_system_url=logins.system,
            nats_url="nats://{}:{}".format(*bus),
            redis_url="redis://{}:{}/0".format(*redis),
            blobs_url=s3.blobs_url(*objects),
            blobs_access_key=keys.s3_access_key,
            blobs_secret_key=keys.s3_secret_key,
        )
        await _provision(_superuser(database, keys), keys)
        async with open_store(urls.blobs_url, urls.blobs_access_key, urls.blobs_secret_key, create_bucket=True):
            yield urls


def _ask_docker() -> None:
    if (problem := _docker_problem()) is not None:
        raise DockerAbsent(f"TURNCALL_TEST_STACK=containers, but Docker does not answer; start it or unset ({problem})")


def _docker_problem() -> str | None:
    """Why Docker does not answer, None when it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # docker-py forgets a socket that nobody answers
        try:
            client = docker.from_env(timeout=DOCKER_TIMEOUT_S)
            client.ping()
            client.close()
        except DockerException as error:
            return type(error).__name__
        finally:
            gc.collect()
    return None


def _postgres(keys: Keys) -> Any:
    """Its files in memory: a test's database is not kept."""
    settings = ("fsync=off", "full_page_writes=off", "max_connections=200")
    command = " ".join(["postgres", *(f"-c {setting}" for setting in settings)])
    return DockerContainer(POSTGRES_IMAGE).with_env("POSTGRES_PASSWORD", keys.platform_key).with_command(command)


def _rclone(keys: Keys) -> Any:
    command = "serve s3 --addr :8080 --config= /data"
    pair = f'"{keys.s3_access_key},{keys.s3_secret_key}"'
    return DockerContainer(RCLONE_IMAGE).with_env("RCLONE_AUTH_KEY", pair).with_command(command)


def _superuser(where: tuple[str, int], keys: Keys) -> str:
    return "postgresql://postgres:{}@{}:{}/template1".format(keys.platform_key, *where)


async def _run(
    running: AsyncExitStack, container: Any, port: int, answers: Callable[[str, int], Awaitable[None]]
) -> tuple[str, int]:
    """Where the container's ``port`` is reached, once it answers there."""
    container.with_exposed_ports(port)
    running.push_async_callback(asyncio.to_thread, container.stop)
    await asyncio.to_thread(container.start)
    where = (container.get_container_host_ip(), int(container.get_exposed_port(port)))
    async with asyncio.timeout(START_TIMEOUT_S):
        await answered(lambda: answers(*where), lambda: None)
    return where


async def _provision(url: str, keys: Keys) -> None:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        for statement in postgres.provisioning(keys):
            await connection.execute(statement.encode())
