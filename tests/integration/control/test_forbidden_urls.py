"""Every field of the API that takes a URL, given 120 that must lead nowhere: nobody is connected to."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from turncall_blobs import StoreUnavailable
from turncall_control.callinit import asking
from turncall_control.callinit.contract import Arrival
from turncall_control.routing import WebhookTarget
from turncall_control.wallet import OwnBucket
from turncall_egress import Wall
from turncall_proto import ids
from turncall_proto.publish import SCHEMA_FOLDER
from turncall_testkit.forbidden import forbidden, hostile

DOCUMENT: dict[str, Any] = msgspec.json.decode((SCHEMA_FOLDER / "openapi.json").read_bytes())
COMPONENTS: dict[str, Any] = DOCUMENT["components"]["schemas"]

HERE = {
    "WebhookNew.url": "test_a_subscription_leads_nowhere_inside",
    "WebhookChange.url": "test_a_subscription_leads_nowhere_inside",
    "WebhookTarget.url": "test_a_number_asks_nobody_inside",
    "VerificationAsked.base_url": "test_a_key_is_tried_nowhere_inside",
    "BucketNew.endpoint": "test_a_bucket_lies_nowhere_inside",
    "AgentServer.call_end_url": "test_what_is_stored_is_looked_at_again_when_it_is_sent_to",
}
"""Fields whose URLs this plane opens, and the test that does."""
BY_WORKERS = {"WebhookTool.url", "McpHttp.url", "McpSse.url", "PageNew.url"}
"""Fields whose URLs workers open, through the client that tests/integration/egress holds to the same list."""

BY_CONTACTS = {"SendLinkTool.url"}
"""Fields whose URLs are told to people, and opened on their telephones alone."""


def url_fields(schema: dict[str, Any], at: str, within: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every field that takes a URL, as ``Component.field``."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        if name not in within:
            yield from url_fields(COMPONENTS[name], name, within | {name})
    items = [schema["items"]] if isinstance(schema.get("items"), dict) else []
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *items):
        yield from url_fields(part, at, within)
    for name, part in schema.get("properties", {}).items():
        if name.endswith("url") or any("https?" in str(one.get("pattern")) for one in (part, *part.get("anyOf", ()))):
            yield f"{at}.{name}"
        yield from url_fields(part, at, within)


def test_no_field_that_takes_a_url_is_forgotten() -> None:
    """The fields are read from the reference, so a new one is missed at once."""
    taken = {
        field
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for field in url_fields(content["schema"], "")
    }
    assert taken == HERE.keys() | BY_WORKERS | BY_CONTACTS


@pytest.fixture
async def target():
    """A port of this machine, and how many have connected to it."""
    met = []

    async def met_one(reader, writer):
        met.append(writer)
        writer.close()

    server = await asyncio.start_server(met_one, None, 0)
    port = server.sockets[0].getsockname()[1]
    yield port, met
    server.close()
    await server.wait_closed()


@pytest.fixture
async def walled(run, environ, monkeypatch):
    """A control plane that opens nothing inside, and whose name servers say that every name is there."""
    for module in ("turncall_control.plane", "turncall_control.credentials.probes"):
        monkeypatch.setattr(f"{module}.Wall", lambda allow: Wall(allow, hostile))
    async with run(environ | {"TURNCALL_EGRESS_ALLOW": "", "TURNCALL_WEBHOOK_RETRIES_S": "1"}) as control:
        yield await control.ready()


async def test_a_subscription_leads_nowhere_inside(walled, target):
    """Neither made nor changed: a 422 that names the field."""
    port, met = target
    api = await walled.tenant()
    made = await api.done("POST", "/v1/webhooks", {"url": "https://8.8.8.8/", "is_enabled": False})
    for url in forbidden(port):
        for method, path in (("POST", "/v1/webhooks"), ("PATCH", f"/v1/webhooks/{made['webhook']['id']}")):
            problem = await api.refused(422, method, path, {"url": url})
            assert [fault["field"] for fault in problem["errors"]] == ["url"]
    assert met == []


async def test_a_number_asks_nobody_inside(walled, target, a_config):
    """A number cannot be routed there; one that is all the same, as names change, asks nobody."""
    port, met = target
    api = await walled.tenant()
    agent = await api.done("POST", "/v1/agents", {"name": "A", "config": a_config()})
    routing = {"kind": "agent", "agent_id": agent["id"]}
    number = await api.done("POST", "/v1/numbers", {"number": "+15550100001", "routing": routing})
    arrival = Arrival(
        call_id=ids.mint(ids.CALL),
        project_id=api.project_id,
        number_id=number["id"],
        channel="phone",
        direction="inbound",
        from_number="+15550001111",
        to_number=number["e164"],
        provider="twilio",
        provider_call_id="CA1",
    )
    for url in forbidden(port):
        change = {"routing": {"kind": "webhook", "url": url}}
        problem = await api.refused(422, "PATCH", f"/v1/numbers/{number['id']}", change)
        assert [fault["field"] for fault in problem["errors"]] == ["routing.url"]
        problem = await api.refused(422, "POST", "/v1/webrtc/tokens", change)
        assert [fault["field"] for fault in problem["errors"]] == ["routing.url"]
        asked = await asking.ask(walled.plane, WebhookTarget(url=url), arrival)
        assert asked.reply is None
        assert asked.why
    await api.done("DELETE", f"/v1/numbers/{number['id']}")
    assert met == []


async def test_a_key_is_tried_nowhere_inside(run, environ, monkeypatch, target):
    """A vendor's server that the caller names is asked only where it may be."""
    port, met = target
    monkeypatch.setattr("turncall_control.credentials.probes.Wall", lambda allow: Wall(allow, hostile))
    async with run(environ | {"TURNCALL_EGRESS_ALLOW": ""}, packaged=True) as control:
        api = await control.tenant()
        stored = await api.done(
            "PUT", "/v1/credentials", {"kind": "vendor", "vendor": "openai", "key": "sk-secret-key"}
        )
        for url in forbidden(port):
            answer = await api.ask("POST", f"/v1/credentials/{stored['id']}/verify", {"base_url": url})
            assert answer.status_code == 422 or answer.json()["outcome"] == "unreachable"
    assert met == []


async def test_a_bucket_lies_nowhere_inside(run, environ, monkeypatch, target):
    """Neither taken by the API nor, when its name has moved since, connected to."""
    port, met = target
    monkeypatch.setattr("turncall_control.plane.Wall", lambda allow: Wall(allow, hostile))
    keys = {"bucket": "mine", "access_key": "an-access-key", "secret_key": "a-secret-key"}
    async with run(environ | {"TURNCALL_EGRESS_ALLOW": ""}) as control:
        api = await control.tenant()
        for url in forbidden(port):
            problem = await api.refused(422, "PUT", "/v1/credentials", {"kind": "s3", "endpoint": url, **keys})
            assert [fault["field"] for fault in problem["errors"]] == ["endpoint"]
        for url in (f"http://127.0.0.1:{port}", f"http://moved.example:{port}"):
            async with control.plane.shelves.opened(OwnBucket(endpoint=url, region="us-east-1", **keys)) as store:
                with pytest.raises(StoreUnavailable):
                    await store.put("a/b", b"", "text/plain")
    assert met == []


async def test_what_is_stored_is_looked_at_again_when_it_is_sent_to(walled, target, comes_true):
    """Rows that lead inside, as when a name has moved since it was written, are sent nothing."""
    port, met = target
    api = await walled.tenant()
    urls = forbidden(port)
    hooks = []
    for _ in range(10):
        # A public address, which is never connected to: nothing is sent before the row is changed.
        hooks.append((await api.done("POST", "/v1/webhooks", {"url": "https://8.8.8.8/"}))["webhook"]["id"])
    for first in range(0, len(urls), len(hooks)):
        batch = urls[first : first + len(hooks)]
        for hook, url in zip(hooks, batch, strict=False):
            await walled.sql("update webhooks set url = %s where id = %s", url, ids.parsed(ids.WEBHOOK, hook))
            await api.done("POST", f"/v1/webhooks/{hook}/test")
        await comes_true(lambda: _is_all_tried(walled, api))
    tried = await walled.sql(
        "select status from webhook_deliveries where project_id = %s",
        ids.parsed(ids.PROJECT, api.project_id),
    )
    assert tried == [("failed",)] * len(urls)
    assert met == []


async def _is_all_tried(control, api):
    return not await control.sql(
        "select 1 from webhook_deliveries where project_id = %s and status = 'pending' limit 1",
        ids.parsed(ids.PROJECT, api.project_id),
    )
