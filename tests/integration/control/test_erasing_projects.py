"""Deleting a project: what stops at once, and the purge that leaves nothing of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import ARRAY, Boolean, DateTime, Integer, LargeBinary, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from turncall_blobs import keys
from turncall_control.db.base import StructJson, Word
from turncall_control.erasure import purge
from turncall_control.settings import NotFound
from turncall_control.tables import TABLES
from turncall_proto import ids
from turncall_runtime.secret import Secret

_fresh = count(7000)
NO_TIME = datetime(2026, 1, 1, tzinfo=UTC)
# What a table's checks, or the meaning of a row, ask for beyond a value of the right type.
SAID = {
    "calls": {"status": "completed", "over_at": NO_TIME, "settled_at": NO_TIME},
    "numbers": {
        "carrier": "twilio",
        "account": "AC" + "7" * 32,
        "carrier_sid": "PN" + "e" * 32,
        "settings": '{"routing": {"kind": "agent", "agent_id": "agt_00000000000000000000000000000000"}}',
    },
    "credentials": {"kind": "vendor"},
}


async def filled(control, project_id):
    """Puts a row of the project into every table that has none of it, whatever columns it has."""
    project = ids.parsed(ids.PROJECT, project_id)
    made = {("projects", "id"): project}
    for table in TABLES[0].metadata.sorted_tables:
        if table.name == "projects":
            continue
        row = {
            column.name: value(column, made, project)
            for column in table.columns
            if column.computed is None
            and column.identity is None
            and (not column.nullable or column.name == "project_id")
        }
        row |= SAID.get(table.name, {})
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
        await control.sql(f"insert into {table.name} ({names}) values ({marks}) on conflict do nothing", *row.values())
        for name, held in row.items():
            made[table.name, name] = held


def value(column, made, project):
    """Something that a column can hold: of what it refers to if it refers to something."""
    if column.name == "project_id":
        return project
    for key in column.foreign_keys:
        return made[key.column.table.name, key.column.name]
    kind = column.type
    if isinstance(kind, Word):
        return next(iter(kind.words)).value
    if isinstance(kind, JSONB | StructJson):
        return "{}"
    plain = kind.impl if hasattr(kind, "impl") else kind
    for types, made_up in (
        (ARRAY, []),
        (Boolean, False),
        (Integer, 1),
        (DateTime, NO_TIME),
        (LargeBinary, b"x"),
    ):
        if isinstance(plain, types):
            return made_up
    if isinstance(plain, Uuid):
        return ids.parsed(ids.CALL, ids.mint(ids.CALL))
    return f"{column.name} of {project}"


OF_NO_PROJECT = {"dial_paces"}
"""Tables of the carriers' accounts, which projects may share."""
PASSING = {"outbox"}
"""Rows that are on their way somewhere else, and gone in a moment."""


async def rows_of(control, project_id):
    """How many rows of the project each table holds."""
    counted = {}
    for table in TABLES:
        if table.__tablename__ in OF_NO_PROJECT | PASSING:
            continue
        column = "id" if table.__tablename__ == "projects" else "project_id"
        ((counted[table.__tablename__],),) = await control.sql(
            f"select count(*) from {table.__tablename__} where {column} = %s", ids.parsed(ids.PROJECT, project_id)
        )
    return counted


async def gone(control, project_id):
    """Sweeps until the purge of a project is complete."""
    async with asyncio.timeout(20):
        while (await control.operator.ask("POST", f"/v1/projects/{project_id}/purge")).status_code != 404:
            await purge.sweep(control.plane)
            await asyncio.sleep(0.05)


async def deleted(control, project_id):
    """Deletes a project."""
    return await control.operator.done("DELETE", f"/v1/projects/{project_id}")


async def test_deleted_project_answers_to_nobody(control, tenant):
    """Its keys stop at once, it is in no list, has no settings, and gets no key; a repeat changes nothing."""
    path = f"/v1/projects/{tenant.project_id}"
    await tenant.done("GET", path)
    first = await deleted(control, tenant.project_id)
    await tenant.refused(401, "GET", path)
    listed = await control.operator.done("GET", "/v1/projects", params={"limit": 200})
    assert tenant.project_id not in {project["id"] for project in listed["items"]}
    await control.operator.refused(404, "POST", f"{path}/keys", {"name": "x", "role": "admin"})
    with pytest.raises(NotFound):
        await control.plane.settings.of(tenant.project_id)
    assert await deleted(control, tenant.project_id) == first
    lasts = datetime.fromisoformat(first["purge_at"]) - datetime.fromisoformat(first["deleted_at"])
    assert lasts == timedelta(days=30)


async def test_grace_period_is_the_operators(run, environ):
    """The purge comes as long after the deletion as the installation says; nothing is lost before."""
    async with run(environ | {"TURNCALL_PROJECT_GRACE_DAYS": "3"}) as control:
        tenant = await control.tenant()
        deletion = await deleted(control, tenant.project_id)
        lasts = datetime.fromisoformat(deletion["purge_at"]) - datetime.fromisoformat(deletion["deleted_at"])
        assert lasts == timedelta(days=3)
        await purge.sweep(control.plane)
        project = ids.parsed(ids.PROJECT, tenant.project_id)
        assert await control.sql("select 1 from api_keys where project_id = %s", project)
        await control.sql("update projects set purge_at = now() where id = %s", project)
        async with asyncio.timeout(20):
            while await control.sql("select 1 from projects where id = %s", project):
                await purge.sweep(control.plane)


async def test_only_the_operator_deletes_projects(control, tenant):
    """An admin's key does not; a project that lives is not purged, one that does not exist is not found."""
    path = f"/v1/projects/{tenant.project_id}"
    await tenant.refused(401, "DELETE", path)
    await tenant.refused(401, "POST", f"{path}/purge")
    problem = await control.operator.refused(409, "POST", f"{path}/purge")
    assert problem["type"] == "urn:turncall:problem:project-lives"
    missing = f"/v1/projects/prj_{'0' * 32}"
    await control.operator.refused(404, "DELETE", missing)
    await control.operator.refused(404, "POST", f"{missing}/purge")


async def test_numbers_of_a_deleted_project_are_released(control, tenant, carrier, a_config):
    """The carrier no longer sends their calls here, and another project can bind them; a failing carrier is asked
    again."""
    (account,) = carrier.accounts.values()
    number = carrier.numbers.add(account.sid, f"+1555{next(_fresh):07}", datetime.now(UTC))
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
    body = {"number": number.sid, "routing": {"kind": "agent", "agent_id": agent["id"]}}
    bound = await tenant.done("POST", "/v1/numbers", body)
    assert carrier.numbers.by_sid(account.sid, number.sid).voice_url
    await deleted(control, tenant.project_id)
    async with asyncio.timeout(20):
        while await control.sql("select 1 from numbers where id = %s", ids.parsed(ids.NUMBER, bound["id"])):
            await purge.sweep(control.plane)
            await asyncio.sleep(0.05)
    assert not carrier.numbers.by_sid(account.sid, number.sid).voice_url
    other = await control.tenant()
    theirs = await other.done("POST", "/v1/agents", {"name": "B", "config": a_config()})
    await other.done("POST", "/v1/numbers", body | {"routing": {"kind": "agent", "agent_id": theirs["id"]}})


async def test_purge_empties_every_table(control, tenant):
    """Of a project with rows in every table nothing is left but audit entries and the ids of its calls; its blobs and
    its keys are gone. Another project keeps all it has."""
    other = await control.tenant()
    for project_id in (tenant.project_id, other.project_id):
        await control.plane.vault.encrypt(project_id, "test", Secret("hunter2"))
        await filled(control, project_id)
        await control.plane.blobs.put(f"{keys.recordings(project_id)}stray.wav", b"x", "audio/wav")
    before, theirs = await rows_of(control, tenant.project_id), await rows_of(control, other.project_id)
    assert [table for table, rows in before.items() if not rows] == [], "every table has a row of the project"
    await deleted(control, tenant.project_id)
    await gone(control, tenant.project_id)
    after = await rows_of(control, tenant.project_id)
    assert {table for table, rows in after.items() if rows} == {"audit_entries", "erased_calls"}
    assert [key async for key in control.plane.blobs.keys(keys.recordings(tenant.project_id))] == []
    assert [key async for key in control.plane.blobs.keys(keys.recordings(other.project_id))] != []
    assert await rows_of(control, other.project_id) == theirs


async def test_audit_log_outlives_a_project_without_what_it_told(control, tenant):
    """Who did what and when stays; addresses and the values that changed are gone."""
    await tenant.done("PATCH", f"/v1/projects/{tenant.project_id}", {"name": "Ada's clinic"})
    await deleted(control, tenant.project_id)
    await gone(control, tenant.project_id)
    entries = await control.sql(
        "select operation, changes, address from audit_entries where project_id = %s order by id",
        ids.parsed(ids.PROJECT, tenant.project_id),
    )
    assert {operation for operation, _, _ in entries} >= {"create_project", "change_project", "delete_project"}
    assert {(str(changes), address) for _, changes, address in entries if _ != "purge_project"} == {("[]", "")}


def test_every_table_belongs_to_a_project_or_is_one():
    """A table that the purge would not find has no place in the installation."""
    names = {table.__tablename__ for table in TABLES}
    assert set(purge.tables()) | purge.OUTLIVING | {"projects"} | OF_NO_PROJECT == names
    assert not purge.OUTLIVING & set(purge.tables())


async def test_replicas_purge_together(control):
    """Several sweeps at once empty several projects without failing."""
    tenants = [await control.tenant() for _ in range(3)]
    for tenant in tenants:
        await deleted(control, tenant.project_id)
    projects = [ids.parsed(ids.PROJECT, tenant.project_id) for tenant in tenants]
    await control.sql("update projects set purge_at = now() where id = any(%s)", projects)
    async with asyncio.timeout(20):
        while await control.sql("select 1 from projects where id = any(%s)", projects):
            await asyncio.gather(*(purge.sweep(control.plane) for _ in range(3)))
