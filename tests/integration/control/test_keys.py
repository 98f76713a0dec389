"""API keys: shown once, ranked, expiring, stamped, revoked."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from turncall_control import keyring
from turncall_proto import ids
from turncall_runtime.secret import Secret


async def test_first_key_opens_its_project(control):
    """A key made by the operator reads its own project, and its text begins with tc_."""
    project = await control.operator.done("POST", "/v1/projects", {"name": "Acme"})
    made = await control.operator.done("POST", f"/v1/projects/{project['id']}/keys", {"name": "first", "role": "admin"})
    assert made["secret"].startswith("tc_")
    assert made["secret"].startswith(made["key"]["prefix"])
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert await control.anybody.done("GET", f"/v1/projects/{project['id']}", headers=headers) == project


async def test_text_of_a_key_is_stored_nowhere(control, tenant):
    """Neither the list nor the table holds the secret; the hash depends on the pepper."""
    secret = tenant.headers["Authorization"].removeprefix("Bearer ")
    listed = await control.client.get("/v1/keys", headers=tenant.headers)
    assert secret not in listed.text
    ((row, stored),) = await control.sql("select k::text, hash from api_keys k where prefix = %s", secret[:19])
    assert secret[20:] not in row
    assert bytes(stored) == keyring.hashed(secret, control.config.key_pepper)
    assert bytes(stored) != keyring.hashed(secret, Secret("another pepper"))


async def test_pepper_is_changed_while_keys_are_in_use(run, environ):
    """A key of the old pepper opens while that is named, and for good once it was used; an unused one dies with it."""
    old, new = "pepper-of-last-year", "pepper-of-this-year"
    async with run(environ | {"TURNCALL_KEY_PEPPER": old}) as control:
        api = await control.tenant()
        unused = (await api.done("POST", "/v1/keys", {"name": "unused", "role": "viewer"}))["secret"]
        project = f"/v1/projects/{api.project_id}"
    async with run(environ | {"TURNCALL_KEY_PEPPER": new, "TURNCALL_OLD_KEY_PEPPERS": f"older,{old}"}) as control:
        await control.anybody.done("GET", project, headers=api.headers)
        await control.anybody.done("GET", project, headers=api.headers)  # from memory
        forged = {"Authorization": api.headers["Authorization"][:-2] + "xx"}
        await control.anybody.refused(401, "GET", project, headers=forged)
    async with run(environ | {"TURNCALL_KEY_PEPPER": new}) as control:
        await control.anybody.done("GET", project, headers=api.headers)
        await control.anybody.refused(401, "GET", project, headers={"Authorization": f"Bearer {unused}"})


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dGNfYTpi"},
        {"Authorization": "Bearer tc_0123456789abcdef_" + "A" * 43},
        {"Authorization": "Bearer tc_" + "é" * 60},
        {"Authorization": "Bearer " + "x" * 5000},
    ],
    ids=["none", "empty", "basic", "unknown", "not ascii", "long"],
)
async def test_request_without_a_good_key_is_refused(control, header):
    """401 with WWW-Authenticate, and the answer does not say what was wrong."""
    encoded = {name: value.encode() for name, value in header.items()}
    response = await control.client.get("/v1/keys", headers=encoded)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "detail" not in response.json()


async def test_right_prefix_with_a_wrong_secret_is_refused(control, tenant):
    """Knowing how a key begins opens nothing, also while the key itself is remembered."""
    await tenant.done("GET", "/v1/keys")
    key = tenant.headers["Authorization"]
    flipped = key[:-1] + ("A" if key[-1] != "A" else "B")
    await control.anybody.refused(401, "GET", "/v1/keys", headers={"Authorization": flipped})


async def test_revoked_key_is_refused_at_once_where_it_was_revoked(control, tenant):
    """After the answer to the revocation the key opens nothing on this replica."""
    other = await control.tenant("developer", tenant.project_id)
    await other.done("GET", "/v1/keys")
    listed = await tenant.done("GET", "/v1/keys")
    key = next(key for key in listed["items"] if key["role"] == "developer")
    revoked = await tenant.done("DELETE", f"/v1/keys/{key['id']}")
    assert revoked["revoked_at"] is not None
    await other.refused(401, "GET", "/v1/keys")
    assert await tenant.done("DELETE", f"/v1/keys/{key['id']}") == revoked


async def test_revocation_reaches_another_replica_within_five_seconds(control, run, environ, monkeypatch):
    """A replica that remembers a key forgets it by the clock alone, without being told."""
    async with run(environ) as replica:
        await replica.ready()
        tenant = await control.tenant()
        victim = await control.tenant("viewer", tenant.project_id)
        seconds = 0.0
        monkeypatch.setattr(replica.plane.keyring, "_clock", lambda: seconds)
        elsewhere = replica.anybody
        await elsewhere.done("GET", f"/v1/projects/{tenant.project_id}", headers=victim.headers)
        listed = await tenant.done("GET", "/v1/keys")
        key = next(key for key in listed["items"] if key["role"] == "viewer")
        await tenant.done("DELETE", f"/v1/keys/{key['id']}")
        seconds = keyring.REMEMBER_S
        assert keyring.REMEMBER_S < 5
        await elsewhere.refused(401, "GET", f"/v1/projects/{tenant.project_id}", headers=victim.headers)


@pytest.mark.parametrize(
    ("asker", "wanted", "status"),
    [
        ("admin", "admin", 201),
        ("admin", "viewer", 201),
        ("developer", "admin", 403),
        ("developer", "developer", 201),
        ("viewer", "viewer", 403),
    ],
)
async def test_key_makes_no_key_above_its_role(control, asker, wanted, status):
    """A role mints its equals and below, and a viewer nothing."""
    api = await control.tenant(asker)
    response = await api.ask("POST", "/v1/keys", {"name": "made", "role": wanted})
    assert response.status_code == status


async def test_key_revokes_no_key_above_its_role(control, tenant):
    """A developer cannot take an admin's key away."""
    developer = await control.tenant("developer", tenant.project_id)
    listed = await developer.done("GET", "/v1/keys")
    admin = next(key for key in listed["items"] if key["role"] == "admin")
    problem = await developer.refused(403, "DELETE", f"/v1/keys/{admin['id']}")
    assert problem["type"] == "urn:turncall:problem:forbidden"
    await tenant.done("GET", "/v1/keys")


async def test_key_stops_at_its_expiry(control, tenant):
    """A key works until its moment and not after it, also while it is remembered."""
    soon = (datetime.now(UTC) + timedelta(seconds=0.8)).isoformat()
    made = await tenant.done("POST", "/v1/keys", {"name": "short", "role": "viewer", "expires_at": soon})
    headers = {"Authorization": f"Bearer {made['secret']}"}
    path = f"/v1/projects/{tenant.project_id}"
    await control.anybody.done("GET", path, headers=headers)
    await asyncio.sleep(0.9)
    await control.anybody.refused(401, "GET", path, headers=headers)


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2199-01-01T00:00:00", "tomorrow"])
async def test_expiry_must_be_a_moment_to_come(tenant, moment):
    """A past, zoneless or unreadable expiry is refused by name."""
    problem = await tenant.refused(422, "POST", "/v1/keys", {"name": "x", "role": "viewer", "expires_at": moment})
    assert [fault["field"] for fault in problem["errors"]] == ["expires_at"]


async def test_last_use_is_stamped_at_most_once_a_minute(control, tenant, monkeypatch):
    """Uses within a minute leave the stamp alone; a use after it moves it."""
    seconds = 0.0
    monkeypatch.setattr(control.plane.keyring, "_clock", lambda: seconds)

    async def stamp() -> str:
        nonlocal seconds
        seconds += keyring.REMEMBER_S
        return str((await tenant.done("GET", "/v1/keys"))["items"][0]["last_used_at"])

    first = await stamp()
    assert await stamp() == first
    await control.sql("update api_keys set last_used_at = last_used_at - interval '2 minutes'")
    assert await stamp() >= first


async def test_key_of_a_deleted_project_is_refused(control, tenant):
    """A project that is gone takes its keys with it."""
    await control.sql(
        "update projects set deleted_at = now() where id = %s", ids.parsed(ids.PROJECT, tenant.project_id)
    )
    await tenant.refused(401, "GET", "/v1/keys")


async def test_platform_key_fails_closed(control, run, environ):
    """Without a configured platform key no header opens the operator's routes; with one, only that one does."""
    for header in ({}, {"X-Platform-Key": ""}, {"X-Platform-Key": "guess"}):
        await control.anybody.refused(401, "GET", "/v1/projects", headers=header)
    async with run(environ | {"TURNCALL_PLATFORM_KEY": ""}) as unset:
        for header in ({}, {"X-Platform-Key": ""}, {"X-Platform-Key": "the-operators-platform-key"}):
            await unset.anybody.refused(401, "GET", "/v1/projects", headers=header)


async def test_api_key_does_not_open_the_operators_routes(tenant):
    """An admin of one project neither lists nor makes projects."""
    await tenant.refused(401, "GET", "/v1/projects")
    await tenant.refused(401, "POST", "/v1/projects", {"name": "Mine"})


async def rotated(tenant, role_of="viewer", **body):
    """A key of a project, by its id and its header, and what rotating it gave."""
    made = await tenant.done("POST", "/v1/keys", {"name": "service", "role": role_of})
    header = {"Authorization": f"Bearer {made['secret']}"}
    return made["key"], header, await tenant.done("POST", f"/v1/keys/{made['key']['id']}/rotate", body)


async def test_rotated_key_lives_beside_its_successor(control, tenant):
    """Both open the project; the old one has an end and names its successor, which has its name and role."""
    old, header, made = await rotated(tenant, overlap_s=3600)
    path = f"/v1/projects/{tenant.project_id}"
    await control.anybody.done("GET", path, headers=header)
    await control.anybody.done("GET", path, headers={"Authorization": f"Bearer {made['secret']}"})
    assert (made["key"]["name"], made["key"]["role"], made["key"]["expires_at"]) == ("service", "viewer", None)
    listed = {key["id"]: key for key in (await tenant.done("GET", "/v1/keys"))["items"]}
    assert listed[old["id"]]["successor_id"] == made["key"]["id"]
    left = datetime.fromisoformat(listed[old["id"]]["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)


async def test_overlap_of_nothing_ends_the_old_key_on_every_replica(control, run, environ, tenant, monkeypatch):
    """Without an overlap the old key is refused at once here, and within five seconds on a replica that knows it."""
    async with run(environ) as replica:
        await replica.ready()
        seconds = 0.0
        monkeypatch.setattr(replica.plane.keyring, "_clock", lambda: seconds)
        made = await tenant.done("POST", "/v1/keys", {"name": "service", "role": "viewer"})
        header, path = {"Authorization": f"Bearer {made['secret']}"}, f"/v1/projects/{tenant.project_id}"
        await replica.anybody.done("GET", path, headers=header)
        await tenant.done("POST", f"/v1/keys/{made['key']['id']}/rotate", {"overlap_s": 0})
        await control.anybody.refused(401, "GET", path, headers=header)
        seconds = keyring.REMEMBER_S
        await replica.anybody.refused(401, "GET", path, headers=header)


async def test_third_key_is_refused(tenant):
    """A key with a successor is not rotated again, nor is one that is over; the successor is."""
    old, _, made = await rotated(tenant)
    problem = await tenant.refused(409, "POST", f"/v1/keys/{old['id']}/rotate", {})
    assert problem["type"] == "urn:turncall:problem:already-rotated"
    await tenant.done("POST", f"/v1/keys/{made['key']['id']}/rotate", {})
    over, _, _ = await rotated(tenant, overlap_s=0)
    problem = await tenant.refused(409, "POST", f"/v1/keys/{over['id']}/rotate", {})
    assert problem["type"] == "urn:turncall:problem:key-over"


async def test_key_rotates_no_key_above_its_role(control, tenant):
    """A developer cannot get an admin's key by rotating one."""
    developer = await control.tenant("developer", tenant.project_id)
    listed = await developer.done("GET", "/v1/keys", params={"role": "admin"})
    await developer.refused(403, "POST", f"/v1/keys/{listed['items'][0]['id']}/rotate", {})


async def test_keys_are_filtered_by_role_and_life(tenant):
    """Each filter shows what it names and nothing else."""
    old, _, made = await rotated(tenant, overlap_s=0)

    async def shown(**filters):
        return [key["id"] for key in (await tenant.done("GET", "/v1/keys", params=filters))["items"]]

    assert await shown(role="viewer") == [made["key"]["id"], old["id"]]
    assert await shown(is_live="false") == [old["id"]]
    assert old["id"] not in await shown(is_live="true")
    assert len(await shown(is_live="true")) == 2
