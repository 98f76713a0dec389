"""The four servers for real: start, outage, restart, and what they leave."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import psycopg
import pytest
import redis.asyncio

from turncall_blobs import open_store
from turncall_devstack import DevStack, FolderInUse, Server, ServerFailed
from turncall_devstack.server import Command, Process, Recipe, User

SOON_S = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Closed to everybody but us, as a home is."""
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
async def stack(folder: Path) -> AsyncIterator[DevStack]:
    """A stack of this module's own, since its tests kill servers."""
    async with DevStack(folder, durable=False) as servers:
        yield servers


async def _write(stack: DevStack, word: str) -> None:
    """Puts ``word`` into each of the four."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database_migrate_url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        await connection.execute("INSERT INTO words VALUES (%s)", [word])
    bus = await nats.connect(stack.urls.nats_url)
    stream = bus.jetstream()
    await stream.add_stream(name="WORDS", subjects=["words"])
    await stream.publish("words", word.encode())
    await bus.close()
    async with redis.asyncio.from_url(stack.urls.redis_url) as cache:
        await cache.set("word", word)
    async with open_store(stack.urls.blobs_url, stack.urls.blobs_access_key, stack.urls.blobs_secret_key) as store:
        await store.put("words/word.txt", word.encode(), "text/plain")


async def _read(stack: DevStack) -> list[str]:
    """The word that each of the four holds."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database_api_url) as connection:
        await connection.execute("SELECT 1")
    async with await psycopg.AsyncConnection.connect(stack.urls.database_migrate_url) as connection:
        row = await (await connection.execute("SELECT word FROM words")).fetchone()
    bus = await nats.connect(stack.urls.nats_url)
    message = await bus.jetstream().get_last_msg("WORDS", "words")
    await bus.close()
    async with redis.asyncio.from_url(stack.urls.redis_url) as cache:
        cached = await cache.get("word")
    async with open_store(stack.urls.blobs_url, stack.urls.blobs_access_key, stack.urls.blobs_secret_key) as store:
        blob = await store.read("words/word.txt")
    assert row is not None
    return [row[0], (message.data or b"").decode(), cached.decode(), blob.decode()]


@pytest.mark.parametrize("durable", [True, False])
async def test_data_and_keys_outlive_a_restart(tmp_path: Path, durable: bool) -> None:
    """Stopping a stack and starting it again in its folder loses nothing, whatever the ports are."""
    async with DevStack(tmp_path, durable=durable) as stack:
        keys = stack.keys
        await _write(stack, "kept")
    async with DevStack(tmp_path, durable=durable) as stack:
        assert await _read(stack) == ["kept"] * 4
        assert stack.keys == keys


async def test_killed_servers_come_back_with_their_data(stack: DevStack) -> None:
    """Each server killed without warning starts again on its port and still holds what it had acknowledged."""
    await _write(stack, "safe")
    for server in (stack.postgres, stack.nats, stack.redis, stack.s3):
        port = server.port
        await server.kill()
        assert server.pid is None
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", port)
        await server.start()
        assert (server.port, server.pid is None) == (port, False)

    assert await _read(stack) == ["safe"] * 4


async def test_stopping_and_starting_twice_is_harmless(stack: DevStack) -> None:
    """An outage test may ask for what is so already."""
    await stack.redis.stop()
    await stack.redis.stop()
    await stack.redis.kill()
    await stack.redis.start()
    pid = stack.redis.pid
    await stack.redis.start()

    assert stack.redis.pid == pid


async def test_logins_are_three(stack: DevStack) -> None:
    """The owner makes tables, the other two do not unless told; none is a superuser or passes row security."""
    for url, may in [
        (stack.urls.database_migrate_url, True),
        (stack.urls.database_api_url, False),
        (stack.urls.database_system_url, False),
    ]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            query = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
            assert await (await connection.execute(query)).fetchone() == (False,)
            query = "SELECT has_schema_privilege('public', 'CREATE')"
            assert await (await connection.execute(query)).fetchone() == (may,)

    wrong = stack.urls.database_api_url.replace(stack.keys.api_password, "guess")
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(wrong)


async def test_postgres_is_18_with_vectors(stack: DevStack) -> None:
    """Every database has pgvector, without anybody creating it, and the major version that production has."""
    made = await stack.create_database("vectors")
    async with await psycopg.AsyncConnection.connect(made.migrate) as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        distance = await (await connection.execute("SELECT '[1,0]'::vector <=> '[0,1]'")).fetchone()
        version = await (await connection.execute("SHOW server_version_num")).fetchone()
    await stack.drop_database("vectors")

    assert distance == (1.0,)
    assert version is not None
    assert version[0].startswith("18")


async def test_databases_are_copied_and_dropped(stack: DevStack) -> None:
    """A copy has its template's tables; dropping one cuts who is connected, and dropping it again does nothing."""
    template = await stack.create_database("template")
    async with await psycopg.AsyncConnection.connect(template.migrate) as connection:
        await connection.execute("CREATE TABLE marks (mark int)")
    copy = await stack.create_database("copy", template="template")
    connected = await psycopg.AsyncConnection.connect(copy.system)
    async with await psycopg.AsyncConnection.connect(copy.migrate) as connection:
        assert await (await connection.execute("SELECT count(*) FROM marks")).fetchone() == (0,)

    await stack.drop_database("copy")
    await stack.drop_database("copy")
    with pytest.raises(psycopg.OperationalError):
        await connected.execute("SELECT 1")
    await connected.close()
    with pytest.raises(psycopg.OperationalError, match="copy"):
        await psycopg.AsyncConnection.connect(copy.migrate)
    await stack.drop_database("template")


async def test_s3_wants_signed_requests(stack: DevStack) -> None:
    """Without the right secret nothing is read or written."""
    with pytest.raises(Exception, match="403"):
        async with open_store(stack.urls.blobs_url, stack.urls.blobs_access_key, "wrong") as store:
            await store.put("a/b.txt", b"x", "text/plain")


async def test_one_stack_in_a_folder(stack: DevStack, folder: Path) -> None:
    """A second start in the same folder is refused and does the first no harm."""
    with pytest.raises(FolderInUse, match="stack"):
        async with DevStack(folder):
            raise AssertionError("it started")

    assert stack.nats.pid is not None


STARTED = """
import asyncio, sys
from pathlib import Path
from turncall_devstack import DevStack

async def main():
    async with DevStack(Path(sys.argv[1]), durable=False) as stack:
        print(*(server.pid for server in (stack.postgres, stack.nats, stack.redis, stack.s3)), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_servers_die_with_their_parent_and_the_folder_is_free_again(tmp_path: Path) -> None:
    """A test run that is killed leaves no server behind, and the next start in the folder waits for them to be gone."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", STARTED, str(tmp_path), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert len(pids) == 4
    parent.kill()
    await parent.wait()

    async with DevStack(tmp_path, durable=False) as stack:
        assert not [pid for pid in pids if _runs(pid)]
        await _write(stack, "again")


def _runs(pid: int) -> bool:
    """A dead process that nobody has waited for still has an entry, without a command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


async def test_the_command_prints_an_environment(tmp_path: Path) -> None:
    """``python -m turncall_devstack`` says where everything is, and SIGTERM ends all of it in good order."""
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turncall_devstack", str(tmp_path), stdout=subprocess.PIPE
    )
    assert command.stdout is not None
    printed: dict[str, str] = {}
    async with asyncio.timeout(30):
        while "TURNCALL_SEAL_PRIVATE_KEYS" not in printed:
            name, _, value = (await command.stdout.readline()).decode().strip().partition("=")
            printed[name] = value
    async with await psycopg.AsyncConnection.connect(printed["TURNCALL_DATABASE_SYSTEM_URL"]) as connection:
        await connection.execute("SELECT 1")
    command.send_signal(signal.SIGTERM)
    async with asyncio.timeout(SOON_S):
        assert await command.wait() == 0
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(printed["TURNCALL_DATABASE_SYSTEM_URL"])


async def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    """The error names the server and quotes its log; so does one for a server that never answers."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    process = Process(log=tmp_path / "x.log", lock=lock)

    async def silent() -> None:
        raise ConnectionError("not up")

    def recipe(script: str) -> Recipe:
        who = User(os.geteuid(), os.getegid())
        command = Command(name="x", argv=("/bin/sh", "-c", script), folder=tmp_path, user=who)
        return Recipe(command=command, port=1, answers=silent)

    with pytest.raises(ServerFailed, match=r"x exited with 3(.|\n)*no space left"):
        await Server(recipe("echo no space left; exit 3"), process).start()
    slow = Server(recipe("exec sleep 60"), process)
    with pytest.raises(ServerFailed, match="did not answer"):
        await slow.start(timeout_s=0.1)
    assert slow.pid is None
    os.close(lock)
