"""How often a key and an address may ask: one count for all replicas, kept on while Redis is away."""

import asyncio
import socket
from collections import Counter
from secrets import randbelow

import pytest

from turncall_proto import ids

PROXIES = {"TURNCALL_TRUSTED_PROXIES": "127.0.0.0/8"}


@pytest.fixture
def closed_redis():
    """The address of a Redis that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A busy machine is not a Redis that is away; one that refuses connections says so at once."""
    monkeypatch.setattr("turncall_control.rates.WITHIN_S", 20.0)


def from_somewhere() -> dict[str, str]:
    """A header that names an address of its own: what a trusted proxy says."""
    return {"X-Forwarded-For": f"2001:db8:{randbelow(65536):x}:{randbelow(65536):x}::1"}


async def statuses(*requests):
    """How often each status came back for requests that were made at once."""
    return Counter(response.status_code for response in await asyncio.gather(*requests))


async def test_two_replicas_count_one_key_together(run, environ, problem_of):
    """Of 60 requests at once through two replicas, a key that may make 20 gets 20; the others are told when to come."""
    limits = {"TURNCALL_RATE_KEY_PER_MINUTE": "20"}
    async with run(environ | limits) as one, run(environ | limits) as other:
        await one.ready()
        await other.ready()
        tenant, bystander = await one.tenant(), await one.tenant()
        asked = [
            replica.client.get("/v1/agents", headers=tenant.headers) for replica in (one, other) for _ in range(30)
        ]
        counted = await statuses(*asked)
        # A bucket refills while it is emptied: one request in three seconds.
        assert 20 <= counted[200] <= 24
        assert counted[429] == 60 - counted[200]
        refused = await other.client.get("/v1/agents", headers=tenant.headers)
        assert problem_of(refused)["type"] == "urn:turncall:problem:rate-limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert refused.headers["ratelimit-policy"] == '"key";q=20;w=60'
        admitted = await other.client.get("/v1/agents", headers=bystander.headers)
        assert admitted.headers["ratelimit"].startswith('"key";r=19;t=')
        assert "retry-after" not in admitted.headers


@pytest.mark.parametrize("is_redis_there", [True, False], ids=["redis", "no redis"])
async def test_flood_without_a_good_key_is_stopped_by_address(run, environ, closed_redis, is_redis_there):
    """After so many refusals an address is refused before its key is looked at; other addresses are served on."""
    limits = {"TURNCALL_RATE_REFUSED_PER_MINUTE": "5"} | PROXIES
    away = {} if is_redis_there else {"TURNCALL_REDIS_URL": closed_redis}
    async with run(environ | limits | away) as control:
        flood, elsewhere = from_somewhere(), from_somewhere()
        guess = {"Authorization": "Bearer tc_0123456789abcdef_" + "A" * 43}
        for _ in range(5):
            await control.anybody.refused(401, "GET", "/v1/agents", headers=guess | flood)
        await control.anybody.refused(429, "GET", "/v1/agents", headers=guess | flood)
        await control.operator.refused(429, "GET", "/v1/projects", headers=flood)
        await control.operator.done("GET", "/v1/projects", headers=elsewhere)
        assert (await control.client.get("/health", headers=flood)).status_code == 200


async def test_invented_forwarded_address_earns_no_new_bucket(run, environ):
    """Without a configured proxy the header counts for nothing: a flood cannot hide behind it."""
    async with run(environ | {"TURNCALL_RATE_REFUSED_PER_MINUTE": "1"}) as control:
        answers = [await control.anybody.ask("GET", "/v1/agents", headers=from_somewhere()) for _ in range(3)]
        assert answers[-1].status_code == 429
        # It is the address of every other test, too.
        await control.plane.redis.delete("tc:rate:refused:127.0.0.1")


async def test_address_is_limited_whatever_its_keys(run, environ):
    """Keys of several projects behind one address share what the address may ask."""
    async with run(environ | {"TURNCALL_RATE_ADDRESS_PER_MINUTE": "10"} | PROXIES) as control:
        where = from_somewhere()
        tenants = [await control.tenant() for _ in range(3)]
        counted = await statuses(
            *(control.client.get("/v1/agents", headers=tenant.headers | where) for tenant in tenants for _ in range(10))
        )
        assert 10 <= counted[200] <= 12
        assert counted[429] == 30 - counted[200]


async def test_limit_holds_without_redis(run, environ, closed_redis):
    """With Redis away each process counts alone: neither open, nor shut, nor an error."""
    limits = {"TURNCALL_RATE_KEY_PER_MINUTE": "10", "TURNCALL_REDIS_URL": closed_redis}
    async with run(environ | limits) as control:
        tenant = await control.tenant()
        counted = await statuses(*(control.client.get("/v1/agents", headers=tenant.headers) for _ in range(30)))
        assert set(counted) == {200, 429}
        assert 10 <= counted[200] <= 13


@pytest.mark.proves("settings.limits.requests_per_minute")
async def test_project_limits_its_own_keys_together(control):
    """A limit in the project's settings counts all its keys, can be lifted, and concerns no other project."""
    admin, stranger = await control.tenant(), await control.tenant()
    viewer = await control.tenant("viewer", admin.project_id)
    path = f"/v1/projects/{admin.project_id}"
    await admin.done("PATCH", path, {"settings": {"limits": {"requests_per_minute": 20}}})
    counted = await statuses(
        *(control.client.get("/v1/agents", headers=api.headers) for api in (admin, viewer) for _ in range(20))
    )
    assert 20 <= counted[200] <= 24
    refused = await viewer.ask("GET", "/v1/agents")
    assert refused.headers["ratelimit-policy"] == '"project";q=20;w=60'
    await stranger.done("GET", "/v1/agents")
    await control.sql("update projects set settings = '{}' where id = %s", ids.parsed(ids.PROJECT, admin.project_id))
    control.plane.settings.forget(admin.project_id)
    await viewer.done("GET", "/v1/agents")
