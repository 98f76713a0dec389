"""What one replica changes, every other one heeds at once; what was rolled back, nobody hears of."""

from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from turncall_control import keyring, settings
from turncall_control.auth import Role
from turncall_control.calls import duties
from turncall_control.db.engine import project_scope
from turncall_control.keys.model import KeyRow
from turncall_proto import ids
from turncall_proto.ids import ProjectId


@pytest.fixture
def nothing_expires(monkeypatch):
    """Caches that keep what they hold for an hour: only news can reach them."""
    monkeypatch.setattr(keyring, "REMEMBER_S", 3600.0)
    monkeypatch.setattr(settings, "REMEMBER_S", 3600.0)
    monkeypatch.setattr(duties, "LEARN_ROUTES_EVERY_S", 3600.0)


@asynccontextmanager
async def two_replicas(run, environ):
    """Two control planes over one database, both on the bus."""
    async with run(environ) as one, run(environ) as other:
        yield await one.ready(), await other.ready()


async def test_every_replica_heeds_what_one_has_changed(run, environ, nothing_expires, comes_true, a_config):
    """A revoked key, changed settings, new numbers and versions, a deleted project: known by the other at once."""
    async with two_replicas(run, environ) as (one, other):
        tenant = await one.tenant()
        made = await tenant.done("POST", "/v1/keys", {"name": "spare", "role": "viewer"})
        bearer = {"Authorization": f"Bearer {made['secret']}"}
        assert (await other.client.get("/v1/agents", headers=bearer)).status_code == 200
        await tenant.done("DELETE", f"/v1/keys/{made['key']['id']}")

        async def is_refused():
            return (await other.client.get("/v1/agents", headers=bearer)).status_code == 401

        await comes_true(is_refused)

        project = ProjectId(tenant.project_id)
        assert (await other.plane.settings.of(project)).limits.concurrent_calls is None
        change = {"settings": {"limits": {"concurrent_calls": 7}}}
        await tenant.done("PATCH", f"/v1/projects/{tenant.project_id}", change)

        async def has_limit():
            return (await other.plane.settings.of(project)).limits.concurrent_calls == 7

        await comes_true(has_limit)

        agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
        await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")
        routing = {"kind": "agent", "agent_id": agent["id"]}
        number = await tenant.done("POST", "/v1/numbers", {"number": "+15550100001", "routing": routing})

        def knows_route():
            return other.plane.routing.recall_agent(agent["id"]) is not None

        await comes_true(knows_route)
        assert other.plane.routing.recall("twilio", number["e164"]) is not None
        await tenant.done("POST", f"/v1/agents/{agent['id']}/archive")
        await comes_true(lambda: not knows_route())
        await tenant.done("DELETE", f"/v1/numbers/{number['id']}")
        await comes_true(lambda: other.plane.routing.recall("twilio", number["e164"]) is None)

        assert (await other.client.get("/v1/agents", headers=tenant.headers)).status_code == 200
        await one.operator.done("DELETE", f"/v1/projects/{tenant.project_id}")

        async def is_gone():
            return (await other.client.get("/v1/agents", headers=tenant.headers)).status_code == 401

        await comes_true(is_gone)
        await comes_true(lambda: _is_told(one))


async def test_what_was_rolled_back_is_not_told(control, tenant, comes_true):
    """The outbox is written by the transaction of the change, and shares its fate."""
    await comes_true(lambda: _is_told(control))
    project = ProjectId(tenant.project_id)
    async with control.plane.database.api() as session:
        project_scope(session, project)
        row = KeyRow(id=ids.mint(ids.KEY), project_id=project, name="x", role=Role.VIEWER, prefix="p", hash=b"")
        session.add(row)
        await session.flush()
        assert (await session.execute(text("select kind, object_id from outbox"))).all() == [("key", row.id)]
        await session.rollback()
    assert await _is_told(control)


async def _is_told(control):
    return await control.sql("select count(*) from outbox") == [(0,)]
