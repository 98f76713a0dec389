"""The control plane as a process: migrate, serve over Granian, stop on SIGTERM, refuse a bad environment."""

import asyncio
import json
import signal
from secrets import token_hex

import httpx
import pytest

from turncall_devstack import create_database, drop_database
from turncall_testkit.served import command, serving


async def early_answers_arrive(client, operator):
    """A body over the limit gets its 413 and an unauthorised one its 401, although nobody reads them: no reset."""
    content, headers = b"x" * 4_000_000, {"content-type": "application/json"}
    for _ in range(10):
        assert (await client.post("/v1/projects", content=content, headers=headers | operator)).status_code == 413
        assert (await client.post("/v1/keys", content=content, headers=headers)).status_code == 401


async def test_migrated_and_served_plane_works_end_to_end(stack, environ):
    """An empty database is migrated, the process serves it, ends with 0 on SIGTERM, and its log holds no secret."""
    name = f"served_{token_hex(6)}"
    urls = await create_database(stack.urls.database, name)
    try:
        migration = await command("migrate", environ={"TURNCALL_DATABASE_MIGRATE_URL": urls.migrate})
        _, errors = await migration.communicate()
        assert migration.returncode == 0, errors.decode()
        own = environ | {"TURNCALL_DATABASE_API_URL": urls.api, "TURNCALL_DATABASE_SYSTEM_URL": urls.system}
        async with serving(own) as (process, client):
            headers = {"X-Platform-Key": own["TURNCALL_PLATFORM_KEY"]}
            project = (await client.post("/v1/projects", json={"name": "Acme"}, headers=headers)).json()
            path = f"/v1/projects/{project['id']}/keys"
            made = (await client.post(path, json={"name": "first", "role": "admin"}, headers=headers)).json()
            bearer = {"Authorization": f"Bearer {made['secret']}"}
            assert (await client.get("/v1/keys", headers=bearer)).status_code == 200
            assert (await client.get("/nothing?phone=+15550001111", headers=bearer)).status_code == 404
            await early_answers_arrive(client, headers)
            process.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, log.decode()
        lines = [json.loads(line) for line in log.decode().splitlines() if line.startswith("{")]
        requests = [line for line in lines if line["event"] == "request"]
        assert {"method", "route", "status", "duration_ms", "request_id", "time"} <= set(requests[-1])
        assert "/v1/keys" in [line["route"] for line in requests]
        text = log.decode()
        for secret in (made["secret"], own["TURNCALL_PLATFORM_KEY"], "15550001111", own["TURNCALL_TWILIO_AUTH_TOKEN"]):
            assert secret not in text
    finally:
        await drop_database(stack.urls.database, name)


async def test_killed_parent_takes_its_serving_process_along(environ):
    """After `kill -9` of the parent nobody serves the port any more: it is free for the next start."""
    async with serving(environ) as (process, client):
        process.kill()
        async with asyncio.timeout(15):
            while True:
                try:
                    await client.get("/health")
                except httpx.TransportError:
                    break
                await asyncio.sleep(0.05)


async def test_bad_environment_is_refused_with_every_reason(environ):
    """A process that cannot be configured ends at once with 1 and names all that is wrong."""
    process = await command("serve", environ=environ | {"TURNCALL_PUBLIC_URL": "nonsense", "TURNCALL_HTTP_PORT": "x"})
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert "TURNCALL_PUBLIC_URL" in errors.decode()
    assert "TURNCALL_HTTP_PORT" in errors.decode()


@pytest.mark.parametrize("arguments", [(), ("dance",), ("serve", "now")])
async def test_unknown_command_shows_the_usage(arguments):
    """Anything but one known command is told how it is done."""
    process = await command(*arguments, environ={})
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert "serve | migrate | rotate-master-key" in errors.decode()


async def test_example_environment_names_every_variable():
    """The example holds the variables of serving and of migrating, and no secret."""
    process = await command("env-example", environ={})
    example, _ = await process.communicate()
    for name in ("TURNCALL_DATABASE_MIGRATE_URL", "TURNCALL_PUBLIC_URL", "TURNCALL_VENDOR_KEY_<NAME>"):
        assert name in example.decode()
