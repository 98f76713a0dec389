"""compose.yaml without Docker: its servers by its commands, the planes by its variables, and a call through it all."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget
from turncall.demo.desk import desk_at_work
from turncall.demo.provision import receptionist
from turncall.demo.record import holes, read_record
from turncall_phone.calls import CallStatus
from turncall_testkit.house import ACCOUNT, CALLER, conversation

LASTS_S = 120.0


async def test_a_call_from_ring_to_record(machine: Any) -> None:
    """In production mode, behind every login and permission: speech, a tool, the hang-up, the facts, the recording."""
    (number, *_) = ACCOUNT.numbers
    async with (
        desk_at_work() as (desk, tool_url),
        TurnCall(machine.control_url, platform_key=machine.platform_key) as operator,
    ):
        project = await operator.create_project("One machine")
        key = await operator.create_first_key(project.id, "tests", "admin")
        async with TurnCall(machine.control_url, key=key.secret) as api:
            desk.trust((await api.signing_secret(project.id)).secret)
            agent = await api.create_agent("Receptionist", receptionist(tool_url))
            await api.publish_agent(agent.id)
            await api.bind_number(number, AgentTarget(agent_id=agent.id))
            call = await machine.carrier.dial(
                to=number, from_=CALLER, script=conversation("book", "day", "time", "goodbye")
            )
            assert await call.ended(timeout_s=LASTS_S) == CallStatus.COMPLETED
            (found,) = (await api.calls(limit=10)).items
            async for _ in api.follow(found.id):
                pass
            record = await read_record(api, found.id)
    assert (record.call.status, record.call.ended_reason) == ("completed", "assistant_ended_call")
    assert holes(record.facts) == []
    assert len(desk.booked) == 1
    assert record.recording.size_bytes > 10_000
    for plane in ("control", "media"):
        assert "permissions violation" not in (machine.logs / f"{plane}.log").read_text().lower()


async def asked(url: str, login: str, question: str) -> list[tuple[Any, ...]]:
    """The rows that a login gets."""
    async with await psycopg.AsyncConnection.connect(url.replace("{login}", login)) as connection:
        return await (await connection.execute(question.encode())).fetchall()


async def test_each_login_has_its_part_of_the_database(machine: Any, answers: Mapping[str, str]) -> None:
    """The owner is no superuser and yet could migrate; the API's login sees no project that it has not named."""
    async with TurnCall(machine.control_url, platform_key=machine.platform_key) as operator:
        await operator.create_project("Hidden")
    system, api, migrate = (f"{login}:{answers[f'{login.upper()}_PASSWORD']}" for login in ("system", "api", "migrate"))
    roles = "select bool_or(rolsuper or rolbypassrls or rolcreaterole) from pg_roles where rolname = current_user"
    for login in (system, api, migrate):
        assert await asked(machine.postgres_url, login, roles) == [(False,)]
    assert await asked(machine.postgres_url, migrate, "select extname from pg_extension where extname = 'vector'") == [
        ("vector",)
    ]
    everybodys = "select count(*) from projects"
    assert (await asked(machine.postgres_url, system, everybodys))[0][0] > 0
    assert await asked(machine.postgres_url, api, everybodys) == [(0,)]
    assert await asked(machine.postgres_url, migrate, everybodys) == [(0,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await asked(machine.postgres_url, api, "drop table projects")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await asked(machine.postgres_url, "api:guessed", everybodys)


async def test_a_backup_is_restored_behind_the_same_walls(
    machine: Any, answers: Mapping[str, str], tmp_path: Path
) -> None:
    """The README's two commands bring every row back, with its owner, its rights and its row-level security."""
    async with TurnCall(machine.control_url, platform_key=machine.platform_key) as operator:
        await operator.create_project("Kept")
    url, dump = machine.postgres_url.replace("{login}", "postgres"), tmp_path / "turncall.dump"
    await done(machine.postgres_programs / "pg_dump", "--format", "custom", "--file", dump, url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("create database restored owner migrate")
    restored = machine.postgres_url.replace("/turncall", "/restored")
    empty = restored.replace("{login}", "postgres")
    async with await psycopg.AsyncConnection.connect(empty, autocommit=True) as connection:
        await connection.execute("create extension vector")
    await done(machine.postgres_programs / "pg_restore", "--clean", "--if-exists", "--dbname", empty, dump)
    everybodys = "select count(*) from projects where name = 'Kept'"
    system, api, migrate = (f"{login}:{answers[f'{login.upper()}_PASSWORD']}" for login in ("system", "api", "migrate"))
    assert await asked(restored, system, everybodys) == [(1,)]
    assert await asked(restored, api, everybodys) == [(0,)]
    owner = "select tableowner from pg_tables where tablename = 'projects'"
    assert await asked(restored, migrate, owner) == [("migrate",)]


async def done(program: Path, *arguments: str | Path) -> None:
    """Runs a program to its good end."""
    child = await asyncio.create_subprocess_exec(program, *arguments)
    assert await child.wait() == 0
