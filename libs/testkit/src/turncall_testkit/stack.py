"""Pytest plugin: real servers for a test run, and a database of its own for each test."""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest
import pytest_asyncio

from turncall_devstack import DatabaseUrls, DevStack, Urls, create_database, drop_database
from turncall_testkit.config import Backend, backend, external_urls

Migrate = Callable[[DatabaseUrls], Awaitable[None]]
"""Brings an empty database to the present schema, and leaves no session open in it."""


class Stack:
    """The servers of a test run, shared by its tests: name what you put there so that others do not meet it."""

    def __init__(self, urls: Urls) -> None:
        self.urls = urls
        self._templates: dict[Migrate, str] = {}

    async def template(self, migrate: Migrate) -> str:
        """The name of a database that ``migrate`` was run on; made once for a test run."""
        if migrate not in self._templates:
            name = f"template_{token_hex(6)}"
            await migrate(await create_database(self.urls.database, name))
            self._templates[migrate] = name
        return self._templates[migrate]

    async def drop_templates(self) -> None:
        """Removes what `template` made."""
        while self._templates:
            _, name = self._templates.popitem()
            await drop_database(self.urls.database, name)


def pytest_report_header() -> str:
    """Says at the head of the report which servers the tests use."""
    return f"stack: {backend(os.environ)}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    """The servers that ``TURNCALL_TEST_STACK`` asks for: ``embedded`` unless told, ``containers``, ``external``."""
    async with _running(backend(os.environ)) as urls:
        made = Stack(urls)
        try:
            yield made
        finally:
            await made.drop_templates()


@pytest_asyncio.fixture(loop_scope="session")
async def private_stack() -> AsyncIterator[DevStack]:
    """Embedded servers for one test (1 to 2 s), which may stop and kill them: ``await private_stack.nats.kill()``."""
    with tempfile.TemporaryDirectory(prefix="turncall-stack-") as folder:
        async with DevStack(Path(folder), durable=False) as servers:
            yield servers


@pytest.fixture(scope="session")
def migrate() -> Migrate:
    """How an empty database gets its tables. A folder of tests that needs tables overrides this in its conftest."""
    return _nothing


@pytest_asyncio.fixture(loop_scope="session")
async def database(stack: Stack, migrate: Migrate) -> AsyncIterator[DatabaseUrls]:
    """A database of the test's own, copied from one that `migrate` was run on once (about 40 ms), dropped after it."""
    name = f"test_{token_hex(6)}"
    urls = await create_database(stack.urls.database, name, await stack.template(migrate))
    try:
        yield urls
    finally:
        await drop_database(stack.urls.database, name)


@asynccontextmanager
async def _running(wanted: Backend) -> AsyncIterator[Urls]:
    if wanted == "external":
        yield external_urls(os.environ)
    elif wanted == "containers":
        from turncall_testkit.containers import containers  # noqa: PLC0415 - half a second, for this backend only

        async with containers() as urls:
            yield urls
    else:
        with tempfile.TemporaryDirectory(prefix="turncall-stack-") as folder:
            async with DevStack(Path(folder), durable=False) as servers:
                yield servers.urls


async def _nothing(_: DatabaseUrls) -> None:
    """An empty database is what the test wants."""
