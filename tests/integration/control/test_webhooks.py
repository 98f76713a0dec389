"""Subscriptions over the API: what they may be, how many, and what is shown of them."""

import pytest

from turncall_control.webhooks.service import MOST

URL = "http://127.0.0.1:65000/hooks"


async def test_subscription_is_made_shown_changed_and_deleted(tenant, a_config):
    """The secret is shown once; what is left out of a change stays; a deleted one is gone."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Ours", "config": a_config()})
    asked = {"url": URL, "event_types": ["call.ended"], "agent_id": agent["id"], "description": "CRM"}
    made = await tenant.done("POST", "/v1/webhooks", asked)
    webhook, path = made["webhook"], f"/v1/webhooks/{made['webhook']['id']}"
    assert made["secret"].startswith("whsec_")
    assert {name: webhook[name] for name in asked} == asked
    assert (webhook["is_enabled"], webhook["disabled_reason"], webhook["last_delivered_at"]) == (True, None, None)
    assert await tenant.done("GET", path) == webhook
    assert (await tenant.done("GET", "/v1/webhooks"))["items"] == [webhook]
    assert "secret" not in (await tenant.ask("GET", path)).text.replace("previous_secret_until", "")
    changed = await tenant.done("PATCH", path, {"agent_id": None, "is_enabled": False})
    assert changed == webhook | {"agent_id": None, "is_enabled": False}
    changed = await tenant.done("PATCH", path, {"event_types": [], "url": URL + "/2", "description": ""})
    assert (changed["event_types"], changed["url"], changed["description"]) == ([], URL + "/2", "")
    await tenant.done("DELETE", path)
    await tenant.refused(404, "GET", path)


async def test_secret_is_not_stored_in_clear(control, tenant):
    """The table holds a box; the text of the secret is nowhere in it."""
    made = await tenant.done("POST", "/v1/webhooks", {"url": URL})
    ((stored,),) = await control.sql("select secret from webhooks where url = %s order by created_at desc limit 1", URL)
    assert made["secret"].encode() not in bytes(stored)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "http://10.0.0.1/hooks"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "http://[::1]:8080/"}, "url"),
        ({"url": "http://0x7f.1/"}, "url"),
        ({"url": "http://127.0.0.1:22/"}, "url"),
        ({"url": "https://user:password@127.0.0.1:8443/"}, "url"),
        ({"url": "ftp://127.0.0.1/"}, "url"),
        ({"event_types": ["call.levitated"]}, "event_types[0]"),
        ({"event_types": ["call.ended", "transcript.partial"]}, "event_types[1]"),
        ({"event_types": ["call.ended", "epoch.opened"]}, "event_types[1]"),
        ({"event_types": ["call.ended", "call.ended"]}, "event_types"),
        ({"agent_id": "agt_" + "0" * 32}, "agent_id"),
        ({"agent_id": "nobody"}, "agent_id"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_wrong_field_is_named(tenant, change, field):
    """What the wall forbids, what no event is called, and whose agent is not ours, is refused by name, twice over."""
    problem = await tenant.refused(422, "POST", "/v1/webhooks", {"url": URL} | change)
    assert [fault["field"] for fault in problem["errors"]] == [field]
    made = await tenant.done("POST", "/v1/webhooks", {"url": URL})
    problem = await tenant.refused(422, "PATCH", f"/v1/webhooks/{made['webhook']['id']}", change)
    assert [fault["field"] for fault in problem["errors"]] == [field]


async def test_production_takes_https_only(run, environ):
    """In production plain http is refused, whatever the operator's networks are."""
    keys = {"TURNCALL_ENV": "production", "TURNCALL_KEY_PEPPER": "a pepper of this test"}
    keys |= {"TURNCALL_STREAM_KEYS": "t1:a-secret-of-this-test", "TURNCALL_MASTER_KEYS": "t1:" + "A" * 43 + "="}
    async with run(environ | keys) as control:
        tenant = await control.tenant()
        problem = await tenant.refused(422, "POST", "/v1/webhooks", {"url": URL})
        assert problem["errors"] == [{"field": "url", "message": "Only https is taken"}]
        await tenant.done("POST", "/v1/webhooks", {"url": URL.replace("http:", "https:")})


async def test_there_is_a_limit(tenant):
    """One more than the project may have is a conflict; deleting one makes room."""
    made = [await tenant.done("POST", "/v1/webhooks", {"url": URL, "is_enabled": False}) for _ in range(MOST)]
    problem = await tenant.refused(409, "POST", "/v1/webhooks", {"url": URL})
    assert problem["type"].endswith("too-many-webhooks")
    await tenant.done("DELETE", f"/v1/webhooks/{made[0]['webhook']['id']}")
    await tenant.done("POST", "/v1/webhooks", {"url": URL})


async def test_log_is_paged_and_filtered(control, tenant):
    """Every delivery is on exactly one page, newest first; each filter narrows; a strange cursor is refused."""
    made = await tenant.done("POST", "/v1/webhooks", {"url": "http://127.0.0.1:65001/none", "is_enabled": False})
    path = f"/v1/webhooks/{made['webhook']['id']}"
    sent = [await tenant.done("POST", f"{path}/test") for _ in range(5)]
    found, cursor = [], None
    while cursor is not None or not found:
        page = await tenant.done(
            "GET", "/v1/webhook-deliveries", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert found == [entry["id"] for entry in reversed(sent)]
    for wanted, count in (
        ({"webhook_id": made["webhook"]["id"]}, 5),
        ({"webhook_id": "whk_" + "0" * 32}, 0),
        ({"type": "webhook.test"}, 5),
        ({"type": "call.ended"}, 0),
        ({"status": "delivered"}, 0),
        ({"created_from": sent[3]["created_at"]}, 2),
        ({"created_until": sent[3]["created_at"]}, 3),
        ({"call_id": "call_" + "0" * 32}, 0),
    ):
        assert len((await tenant.done("GET", "/v1/webhook-deliveries", params=wanted))["items"]) == count, wanted
    await tenant.refused(422, "GET", "/v1/webhook-deliveries", params={"cursor": "abc"})
    await tenant.refused(422, "GET", "/v1/webhook-deliveries", params={"created_from": "2026-01-01T00:00:00"})
    for name, prefix in (("webhook_id", "whk"), ("call_id", "call")):
        await tenant.refused(422, "GET", "/v1/webhook-deliveries", params={name: f"{prefix}_{'0' * 32}\n"})


async def test_range_redelivery_goes_on_where_it_stopped(control, tenant, monkeypatch):
    """More than one request's share is taken in several, each delivery once."""
    from turncall_control.webhooks import repository

    monkeypatch.setattr(repository, "REDELIVERED_AT_ONCE", 2)
    made = await tenant.done("POST", "/v1/webhooks", {"url": "http://127.0.0.1:65001/none"})
    path = f"/v1/webhooks/{made['webhook']['id']}"
    sent = [await tenant.done("POST", f"{path}/test") for _ in range(5)]
    await control.sql(
        "update webhook_deliveries set status = 'delivered' where webhook_id = %s", made["webhook"]["id"][4:]
    )
    asked, counts = {"since": sent[0]["created_at"], "status": "delivered"}, []
    while asked["since"]:
        answer = await tenant.done("POST", f"{path}/redeliver", asked)
        counts.append(answer["count"])
        asked["since"] = answer["next_since"]
    assert counts == [2, 2, 1]
