"""Idempotency keys: sent twice, done once, answered alike; across replicas, crashes and outages."""

import asyncio
from secrets import token_hex

import pytest

from turncall_control import idempotency
from turncall_control.db.act import Claim


def keyed(key=""):
    """A header with a key."""
    return {"Idempotency-Key": key or token_hex(8)}


async def agents_of(tenant):
    """The names of a project's agents."""
    return [agent["name"] for agent in (await tenant.done("GET", "/v1/agents"))["items"]]


async def test_repeat_gets_the_same_answer_and_acts_once(tenant, a_config):
    """The same key and body make one agent; the second answer equals the first to the byte, and says what it is."""
    body, key = {"name": "Once", "config": a_config()}, keyed()
    first = await tenant.ask("POST", "/v1/agents", body, headers=key)
    again = await tenant.ask("POST", "/v1/agents", body, headers=key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.status_code == 201
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await agents_of(tenant) == ["Once"]


async def test_same_key_with_another_request_is_a_conflict(tenant, a_config):
    """Another body, or another path, under a used key is refused and does nothing."""
    key = keyed()
    await tenant.done("POST", "/v1/agents", {"name": "One", "config": a_config()}, headers=key)
    for path, body in (
        ("/v1/agents", {"name": "Two", "config": a_config()}),
        ("/v1/numbers", {"number": "+15550100001", "routing": {"kind": "agent", "agent_id": "agt_" + "0" * 32}}),
    ):
        problem = await tenant.refused(409, "POST", path, body, headers=key)
        assert problem["type"] == "urn:turncall:problem:idempotency-key-reused"
    assert await agents_of(tenant) == ["One"]


async def test_keys_of_projects_do_not_meet(control, a_config):
    """Two projects use the same key for different things."""
    key = keyed()
    for name in ("One", "Two"):
        tenant = await control.tenant()
        await tenant.done("POST", "/v1/agents", {"name": name, "config": a_config()}, headers=key)
        assert await agents_of(tenant) == [name]


async def test_role_is_checked_before_the_answer_is_repeated(control, tenant, a_config):
    """A viewer of the same project does not get an answer by knowing the key."""
    body, key = {"name": "One", "config": a_config()}, keyed()
    await tenant.done("POST", "/v1/agents", body, headers=key)
    viewer = await control.tenant("viewer", tenant.project_id)
    await viewer.refused(403, "POST", "/v1/agents", body, headers=key)


async def test_requests_at_once_act_once(control, run, environ, tenant, a_config):
    """Ten at once through two replicas make one agent; each is answered with it, or told to come again."""
    body, key = {"name": "Once", "config": a_config()}, keyed()
    async with run(environ) as other:
        await other.ready()
        answers = await asyncio.gather(
            *(
                replica.client.post("/v1/agents", json=body, headers=tenant.headers | key)
                for replica in (control, other)
                for _ in range(5)
            )
        )
    assert await agents_of(tenant) == ["Once"]
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert answer.status_code == 409
            assert answer.json()["type"] == "urn:turncall:problem:still-running"
            assert int(answer.headers["retry-after"]) > 0
    assert (await tenant.done("POST", "/v1/agents", body, headers=key))["id"] in made


async def test_refused_request_gives_the_key_back(tenant, a_config):
    """A key whose request was refused can be used for the mended one."""
    key = keyed()
    await tenant.refused(422, "POST", "/v1/agents", {"name": " ", "config": a_config()}, headers=key)
    await tenant.refused(400, "POST", "/v1/agents", headers=key | {"content-type": "application/json"})
    await tenant.done("POST", "/v1/agents", {"name": "Mended", "config": a_config()}, headers=key)


async def test_act_of_several_transactions_is_kept_too(tenant, a_config):
    """Binding asks the carrier between its transactions; repeated, it is answered and does not find itself taken."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
    body, key = {"number": "+15550100002", "routing": {"kind": "agent", "agent_id": agent["id"]}}, keyed()
    first = await tenant.done("POST", "/v1/numbers", body, headers=key)
    assert await tenant.done("POST", "/v1/numbers", body, headers=key) == first
    await tenant.done("DELETE", f"/v1/numbers/{first['id']}")


async def claimed(control, tenant, key):
    """A key whose request has died half-way: claimed by nobody who lives."""
    given = await idempotency.claim(control.plane.database, tenant.project_id, key, b"fingerprint")
    assert isinstance(given, Claim)
    return given


async def test_key_of_a_dead_request_does_not_block_for_ever(control, tenant):
    """While the first may live the second is told to wait; after that it acts, unless the first is known to have."""
    await claimed(control, tenant, "dead")
    with pytest.raises(idempotency.StillRunning):
        await claimed(control, tenant, "dead")
    await control.sql("update idempotency_keys set claimed_until = now() - interval '1 s' where key = 'dead'")
    again = await claimed(control, tenant, "dead")
    await control.sql("update idempotency_keys set claimed_until = now(), has_acted = true where claim = %s", again.id)
    with pytest.raises(idempotency.AnswerLost):
        await claimed(control, tenant, "dead")


async def test_request_that_dies_before_its_commit_leaves_nothing(control, tenant, a_config, monkeypatch):
    """A defect between act and answer undoes the act, and the same key works for the next attempt."""
    body, key = {"name": "Once", "config": a_config()}, keyed()

    def broken(*_: object) -> None:
        raise RuntimeError("no view")

    with monkeypatch.context() as patch:
        patch.setattr("turncall_control.agents.routes.agent_view", broken)
        await tenant.refused(500, "POST", "/v1/agents", body, headers=key)
    assert await agents_of(tenant) == []
    await tenant.done("POST", "/v1/agents", body, headers=key)


async def test_request_that_dies_after_its_commit_is_not_done_again(control, tenant, a_config, monkeypatch):
    """A number bound by a request that then failed: the key says so, and does not bind once more."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
    body, key = {"number": "+15550100003", "routing": {"kind": "agent", "agent_id": agent["id"]}}, keyed()

    def broken(*_: object) -> None:
        raise RuntimeError("no view")

    with monkeypatch.context() as patch:
        patch.setattr("turncall_control.numbers.routes._view", broken)
        await tenant.refused(500, "POST", "/v1/numbers", body, headers=key)
    await control.sql("update idempotency_keys set claimed_until = now() where key = %s", key["Idempotency-Key"])
    problem = await tenant.refused(409, "POST", "/v1/numbers", body, headers=key)
    assert problem["type"] == "urn:turncall:problem:answer-lost"
    (number,) = (await tenant.done("GET", "/v1/numbers"))["items"]
    await tenant.done("DELETE", f"/v1/numbers/{number['id']}")


async def test_key_is_forgotten_after_a_day(control, tenant, a_config):
    """An expired key is free, whatever it stood for."""
    key = keyed()
    await tenant.done("POST", "/v1/agents", {"name": "One", "config": a_config()}, headers=key)
    ((left,),) = await control.sql(
        "select extract(epoch from expires_at - now()) from idempotency_keys where key = %s", key["Idempotency-Key"]
    )
    assert 23 * 3600 < left <= 24 * 3600
    await control.sql("update idempotency_keys set expires_at = now() - interval '1 s'")
    await tenant.done("POST", "/v1/agents", {"name": "Two", "config": a_config()}, headers=key)


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "späte"])
async def test_malformed_key_is_refused_by_name(tenant, a_config, key):
    """A key that could not be told apart from another is a 422."""
    body = {"name": "One", "config": a_config()}
    headers = tenant.headers | {"Idempotency-Key": key.encode("latin-1")}
    response = await tenant._client.post("/v1/agents", json=body, headers=headers)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_operation_that_shows_a_secret_takes_no_key(control, tenant):
    """Making an API key refuses the header instead of keeping the key's text for a day, and makes nothing."""
    before = await control.sql("select count(*) from api_keys")
    body = {"name": "x", "role": "viewer"}
    problem = await tenant.refused(422, "POST", "/v1/keys", body, headers=keyed())
    assert problem["errors"][0]["field"] == "Idempotency-Key"
    path = f"/v1/projects/{tenant.project_id}/keys"
    await control.operator.refused(422, "POST", path, body, headers=keyed())
    assert await control.sql("select count(*) from api_keys") == before
