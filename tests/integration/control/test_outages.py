"""Parts that are away: the process starts, what does not need them works, what does says so and comes back."""

import asyncio
import socket

import psycopg
import pytest

from turncall_control.db import engine
from turncall_control.late_bus import RETRY_S
from turncall_control.migrations.upgrade import upgrade
from turncall_runtime.secret import Secret


@pytest.fixture
def closed_port():
    """A port on which nobody listens, for as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def ready(control):
    """What the readiness probe tells."""
    response = await control.client.get("/ready")
    return response.status_code, response.json()


async def until(condition, timeout_s=15.0):
    """Waits until an asynchronous condition holds."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.05)


async def test_everything_there(control):
    """With all parts up the probe says so."""
    await until(lambda: _bus_is_there(control))
    assert await ready(control) == (200, {"is_ready": True, "database": True, "bus": True, "redis": True})


async def test_a_connection_that_the_server_closed_is_not_lent(control):
    """An idle connection that lives is lent unasked; one that Postgres has ended is known by its socket."""
    url = control.plane.config.database_system_url.reveal()
    idle = await psycopg.AsyncConnection.connect(url, autocommit=True)
    await engine.require_open(idle)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as operator:
        await operator.execute("select pg_terminate_backend(%s)", (idle.info.backend_pid,))
        left = "select count(*) from pg_stat_activity where pid = %s"
        await until(lambda: _is_none(operator, left, idle.info.backend_pid))
    with pytest.raises(psycopg.OperationalError):
        await engine.require_open(idle)
    await idle.close()


async def _is_none(connection, query, *parameters):
    return await (await connection.execute(query, parameters)).fetchone() == (0,)


async def _bus_is_there(control):
    return control.plane.bus.is_connected


async def test_without_bus_redis_and_blobs_the_api_works(run, environ, closed_port):
    """A process that starts while NATS, Redis and the object store are away serves requests that need none of them."""
    away = {
        "TURNCALL_NATS_URL": f"nats://127.0.0.1:{closed_port}",
        "TURNCALL_REDIS_URL": f"redis://127.0.0.1:{closed_port}/0",
        "TURNCALL_BLOBS_URL": f"s3://bucket?endpoint=http://127.0.0.1:{closed_port}",
    }
    async with asyncio.timeout(10):
        async with run(environ | away) as control:
            tenant = await control.tenant()
            await tenant.done("GET", "/v1/agents")
            assert await ready(control) == (200, {"is_ready": True, "database": True, "bus": False, "redis": False})


async def test_without_the_database_requests_are_told_when_to_come_back(
    run, environ, closed_port, problem_of, monkeypatch
):
    """A process that starts without Postgres is alive, not ready, and answers 503 with Retry-After."""
    away = dict.fromkeys(
        ("TURNCALL_DATABASE_API_URL", "TURNCALL_DATABASE_SYSTEM_URL"),
        f"postgresql://nobody:secret-word@127.0.0.1:{closed_port}/turncall",
    )
    monkeypatch.setattr(engine, "CONNECT_WITHIN_S", 1)
    async with run(environ | away) as control:
        assert (await control.client.get("/health")).status_code == 200
        assert (await ready(control))[0] == 503
        assert (await ready(control))[1]["database"] is False
        key = {"Authorization": "Bearer tc_0123456789abcdef_" + "A" * 43}
        for response in (
            await control.client.get("/v1/agents", headers=key),
            await control.client.get("/v1/projects", headers=control.operator.headers),
        ):
            document = problem_of(response)
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert document["type"] == "urn:turncall:problem:unavailable"
            assert "secret-word" not in response.text
            assert str(closed_port) not in response.text


async def test_database_and_bus_that_come_back_are_used_again(private_stack, run, environ):
    """Postgres killed and restarted, NATS started late: the same process goes on, without being told."""
    await asyncio.to_thread(upgrade, Secret(private_stack.urls.database_migrate_url))
    await private_stack.nats.kill()
    own = {
        "TURNCALL_DATABASE_API_URL": private_stack.urls.database_api_url,
        "TURNCALL_DATABASE_SYSTEM_URL": private_stack.urls.database_system_url,
        "TURNCALL_NATS_URL": private_stack.urls.nats_url,
    }
    async with run(environ | own) as control:
        tenant = await control.tenant()
        assert (await ready(control))[1]["bus"] is False
        await private_stack.nats.start()
        await until(lambda: _bus_is_there(control), 10 * RETRY_S)

        await private_stack.postgres.kill()
        await tenant.refused(503, "GET", "/v1/agents")
        assert (await ready(control))[0] == 503
        await private_stack.postgres.start()

        async def answers():
            return (await tenant.ask("GET", "/v1/agents")).status_code == 200

        await until(answers)
        assert (await ready(control))[0] == 200
