"""The fixtures over real servers."""

import asyncio
import subprocess
import sys

import psycopg
import pytest

from turncall_devstack import DatabaseUrls
from turncall_testkit.stack import Migrate, Stack

MIGRATED: list[str] = []


async def _make_marks(urls: DatabaseUrls) -> None:
    MIGRATED.append(urls.migrate)
    async with await psycopg.AsyncConnection.connect(urls.migrate) as connection:
        await connection.execute("CREATE TABLE marks (mark int)")


@pytest.fixture(scope="module")
def migrate() -> Migrate:
    return _make_marks


async def _mark(urls: DatabaseUrls) -> int:
    async with await psycopg.AsyncConnection.connect(urls.migrate) as connection:
        await connection.execute("INSERT INTO marks VALUES (1)")
        row = await (await connection.execute("SELECT count(*) FROM marks")).fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.parametrize("_", range(3))
async def test_each_test_has_a_database_of_its_own(database: DatabaseUrls, _: int) -> None:
    """The schema is there, what another test wrote is not, and the migration ran once for all of them."""
    assert await _mark(database) == 1
    assert len(MIGRATED) == 1


async def test_migrations_are_told_apart(stack: Stack) -> None:
    """Tests of two packages with two schemas get two templates."""

    async def nothing(_: DatabaseUrls) -> None:
        """An empty schema."""

    assert await stack.template(_make_marks) == await stack.template(_make_marks)
    assert await stack.template(nothing) != await stack.template(_make_marks)


ASKED = """
import asyncio
from turncall_testkit.containers import DockerAbsent, containers

async def main():
    try:
        async with containers():
            print("started")
    except DockerAbsent as absent:
        print("absent:", absent)

asyncio.run(main())
"""


async def test_containers_without_docker_are_an_error_and_no_skip() -> None:
    """Whoever demands containers is told that there is no Docker, instead of passing on fewer tests."""
    asked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ASKED), env={"DOCKER_HOST": "unix:///nowhere.sock"}, stdout=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        said, _ = await asked.communicate()

    assert said.decode().startswith("absent: TURNCALL_TEST_STACK=containers, but Docker does not answer")
