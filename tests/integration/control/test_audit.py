"""The audit log: every change and every listen, by whom, before and after, in the transaction of the change."""

from datetime import UTC, datetime, timedelta

import pytest
from litestar.routes import HTTPRoute
from psycopg.errors import InsufficientPrivilege

from turncall_control import app as composition
from turncall_control.audit import repository
from turncall_control.db.engine import in_project
from turncall_control.numbers import repository as numbers
from turncall_proto import ids


async def log_of(tenant, **filters):
    """The project's entries, oldest first."""
    return list(reversed((await tenant.done("GET", "/v1/audit", params={"limit": 200, **filters}))["items"]))


async def key_of(tenant):
    """The id of the key that the tenant asks with."""
    prefix = tenant.headers["Authorization"].removeprefix("Bearer ")[:19]
    return next(key["id"] for key in (await tenant.done("GET", "/v1/keys"))["items"] if key["prefix"] == prefix)


async def test_change_names_who_did_what_before_and_after(tenant, a_config):
    """Renaming an agent leaves one entry: the key, the operation, the object, both names, request and address."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Before", "config": a_config()})
    response = await tenant.ask(
        "PATCH", f"/v1/agents/{agent['id']}", {"name": "After"}, headers={"X-Request-ID": "the-rename-1"}
    )
    assert response.status_code == 200
    (entry,) = await log_of(tenant, operation="change_agent")
    assert datetime.fromisoformat(entry.pop("created_at")) <= datetime.now(UTC)
    assert entry.pop("id").startswith("aud_")
    assert entry == {
        "project_id": tenant.project_id,
        "actor": await key_of(tenant),
        "operation": "change_agent",
        "object_id": agent["id"],
        "effect": "changed",
        "changes": [{"field": "name", "before": "Before", "after": "After"}],
        "request_id": "the-rename-1",
        "address": "127.0.0.1",
    }


async def test_change_of_a_config_tells_the_fields_that_differ(tenant, a_config):
    """Of a struct only what changed is told, by path; what stayed is not repeated."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config(prompt="one")})
    await tenant.done("PUT", f"/v1/agents/{agent['id']}/draft", {"config": a_config(prompt="call +14155550199 two")})
    (entry,) = await log_of(tenant, operation="put_draft")
    assert entry["object_id"] == agent["draft"]["id"]
    assert entry["changes"] == [{"field": "config.prompt", "before": "one", "after": "call <number> two"}]


async def test_publishing_leaves_an_entry_for_each_row(tenant, a_config):
    """One act that changes two versions tells both: the one that goes and the one that comes."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
    await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")
    await tenant.done("PUT", f"/v1/agents/{agent['id']}/draft", {"config": a_config()})
    await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")
    states = [
        (change["before"], change["after"])
        for entry in await log_of(tenant, operation="publish_agent")
        for change in entry["changes"]
        if change["field"] == "state"
    ]
    assert states == [("draft", "published"), ("published", "archived"), ("draft", "published")]


async def test_secrets_and_numbers_are_hidden(control, tenant, a_config):
    """Neither a key's text or hash nor a bound number stands in the log; that they were set does."""
    made = await tenant.done("POST", "/v1/keys", {"name": "other", "role": "viewer"})
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
    number = await tenant.done(
        "POST", "/v1/numbers", {"number": "+15550100001", "routing": {"kind": "agent", "agent_id": agent["id"]}}
    )
    await tenant.done("DELETE", f"/v1/numbers/{number['id']}")
    text = (await tenant.ask("GET", "/v1/audit", params={"limit": 200})).text
    assert made["secret"] not in text
    assert "5550100001" not in text
    (entry,) = await log_of(tenant, operation="create_key", object_id=made["key"]["id"])
    assert {change["field"]: change["after"] for change in entry["changes"]}["hash"] == "***"
    bound = [change["after"] for entry in await log_of(tenant, operation="bind_number") for change in entry["changes"]]
    assert "***" in bound


async def test_refused_change_leaves_no_entry(tenant, a_config):
    """What was rolled back is not in the log, and neither is reading."""
    await tenant.done("POST", "/v1/agents", {"name": "Taken", "config": a_config()})
    before = await log_of(tenant)
    await tenant.refused(409, "POST", "/v1/agents", {"name": "Taken", "config": a_config()})
    await tenant.refused(422, "POST", "/v1/agents", {"name": " "})
    await tenant.done("GET", "/v1/agents")
    await tenant.done("POST", "/v1/agents/validate", {"config": a_config()})
    assert await log_of(tenant) == before


async def test_success_that_changed_nothing_is_told_as_done(tenant, a_config):
    """Renaming to the same name is an act all the same."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Same", "config": a_config()})
    await tenant.done("PATCH", f"/v1/agents/{agent['id']}", {"name": "Same"})
    (entry,) = await log_of(tenant, operation="change_agent")
    assert (entry["effect"], entry["object_id"], entry["changes"]) == ("done", agent["id"], [])


async def test_operator_is_in_both_logs(control):
    """What the operator does to a project stands in its log and in the operator's; keys' doings only in the first."""
    tenant = await control.tenant()
    await tenant.done("PATCH", f"/v1/projects/{tenant.project_id}", {"name": "Renamed"})
    # A project comes with its signing secret, which is an entry of its own.
    mine = list(dict.fromkeys((entry["actor"], entry["operation"]) for entry in await log_of(tenant)))
    assert mine[:2] == [("platform", "create_project"), ("platform", "create_first_key")]
    assert mine[2] == (await key_of(tenant), "change_project")
    page = await control.operator.done("GET", "/v1/platform/audit", params={"limit": 200})
    seen = [entry["operation"] for entry in page["items"] if entry["project_id"] == tenant.project_id]
    assert list(dict.fromkeys(seen)) == ["create_first_key", "create_project"]
    assert {entry["actor"] for entry in page["items"]} == {"platform"}


UNAUDITED = {"open_session", "search_knowledge_base", "trickle_candidates", "validate_agent"}
"""What changes nothing although it is a POST."""
LISTENED = {"get_call_recording", "follow_call"}
"""What lets somebody hear or read along a call."""


def test_every_change_and_every_listen_is_declared_to_leave_an_entry():
    """Each route of the API that is no GET is audited, and so are the GETs that listen; the exceptions are known.

    That a declared route leaves its entry is seen to by the fixture `control`, for every request of every test.
    """
    declared, silent = set(), set()
    for route in composition.assembled(composition.SLICES, [], None).routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if not route.path_format.startswith("/v1/") or handler.http_methods == {"OPTIONS"}:
                continue
            if handler.opt["audited"]:
                declared.add(handler.handler_name)
            elif handler.http_methods != {"GET"}:
                silent.add(handler.handler_name)
    assert declared >= LISTENED
    assert silent == UNAUDITED


async def test_change_past_the_session_leaves_an_entry(control, tenant, a_config, monkeypatch):
    """A handler that writes with bare SQL, or only asks the carrier, is in the log as done."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
    body = {"number": "+15550100002", "routing": {"kind": "agent", "agent_id": agent["id"]}}
    number = await tenant.done("POST", "/v1/numbers", body)

    async def by_bare_sql(plane, project_id, number_id, *changes):
        row = ids.parsed(ids.NUMBER, number_id)
        async with plane.database.pool.connection() as connection:
            await connection.execute("update numbers set carrier_sid = carrier_sid where id = %s", (row,))
        async with in_project(plane.database, project_id) as session:
            return await numbers.get(session, project_id, number_id)

    with monkeypatch.context() as patch:
        patch.setattr("turncall_control.numbers.service.change", by_bare_sql)
        await tenant.done(
            "PATCH", f"/v1/numbers/{number['id']}", {"routing": {"kind": "agent", "agent_id": agent["id"]}}
        )
    (entry,) = await log_of(tenant, operation="change_number")
    assert (entry["effect"], entry["object_id"]) == ("done", number["id"])
    await tenant.done("DELETE", f"/v1/numbers/{number['id']}")


async def test_only_admins_read_the_log(control, tenant):
    """Developers and viewers are refused, and a key does not open the operator's log."""
    for role in ("developer", "viewer"):
        await (await control.tenant(role, tenant.project_id)).refused(403, "GET", "/v1/audit")
    await tenant.refused(401, "GET", "/v1/platform/audit")


async def test_filters_and_pages(tenant, a_config):
    """Each filter narrows the list to what it names, and a cursor goes on where the page ended."""
    first = await tenant.done("POST", "/v1/agents", {"name": "One", "config": a_config()})
    await tenant.done("POST", "/v1/agents", {"name": "Two", "config": a_config()})
    me, everything = await key_of(tenant), await log_of(tenant)
    assert {entry["object_id"] for entry in await log_of(tenant, object_id=first["id"])} == {first["id"]}
    assert {entry["actor"] for entry in await log_of(tenant, actor=me)} == {me}
    assert {entry["operation"] for entry in await log_of(tenant, actor="platform")} == {
        "create_project",
        "create_first_key",
    }
    assert await log_of(tenant, effect="deleted") == []
    middle = everything[2]["created_at"]
    assert await log_of(tenant, created_from=middle) == everything[2:]
    assert await log_of(tenant, created_until=middle) == everything[:2]
    page = await tenant.done("GET", "/v1/audit", params={"limit": 2})
    rest = await tenant.done("GET", "/v1/audit", params={"cursor": page["next_cursor"]})
    assert list(reversed(page["items"] + rest["items"])) == everything
    for no_moment in ("2026-01-01T00:00:00", "2026-01-01", "1767225600", "0.5", ["2026-01-01T00:00:00Z", "0"]):
        problem = await tenant.refused(422, "GET", "/v1/audit", params={"created_from": no_moment})
        assert [fault["field"] for fault in problem["errors"]] == ["created_from"]


async def test_entries_are_not_rewritten_and_leave_in_time(control, tenant, monkeypatch):
    """Neither login changes an entry; what is older than the installation keeps it is swept, and nothing else."""
    with pytest.raises(InsufficientPrivilege):
        await control.sql("update audit_entries set actor = 'nobody'")
    project = ids.parsed(ids.PROJECT, tenant.project_id)
    monkeypatch.setattr(repository, "BATCH", 2)
    for age_days in (1, 29, 31, 31, 31, 400):
        await control.sql(
            "insert into audit_entries (id, project_id, created_at, actor, operation, object_id, effect, changes, "
            "request_id, address) values (uuidv7(), %s, %s, 'platform', 'aged', %s, 'done', '[]', '', '')",
            project,
            datetime.now(UTC) - timedelta(days=age_days),
            str(age_days),
        )
    await repository.sweep(control.plane.database.pool, 30)
    assert {entry["object_id"] for entry in await log_of(tenant, operation="aged")} == {"1", "29"}
