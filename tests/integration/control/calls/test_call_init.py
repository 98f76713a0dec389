"""A number whose calls are routed by the project's own server, asked before the call is answered."""

import asyncio
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from msgspec.structs import replace
from psycopg.types.json import Jsonb

from turncall_control.callinit import asking
from turncall_egress.signing import signed_headers, verify
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallStart
from turncall_proto.ids import AgentId, CallId, VersionId

from .users_server import UsersServer, serving


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[UsersServer]:
    """The project's own server."""
    async with serving() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def settle(desk: Any, server: UsersServer) -> AsyncIterator[Any]:
    """Routes the desk's number by the server, by the API; it is put back afterwards."""
    number = ids.parsed(ids.NUMBER, desk.number_id)
    ((before,),) = await desk.rows("select settings from numbers where id = %s", number)

    async def change(signed_replies: bool = False, **settings: Any) -> None:
        routing = {"kind": "webhook", "url": server.url, "signed_replies": signed_replies}
        answer = await desk.http.patch(
            f"/v1/numbers/{desk.number_id}", json={"routing": routing, **settings}, headers=desk.bearer
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["routing"] == routing

    yield change
    await desk.execute("update numbers set settings = %s where id = %s", Jsonb(before), number)


@pytest_asyncio.fixture(loop_scope="session")
async def config(desk: Any) -> dict[str, Any]:
    """The definition of the desk's agent."""
    ((stored,),) = await desk.rows(
        "select config from agent_versions where id = %s", ids.parsed(ids.VERSION, desk.version_id)
    )
    made: dict[str, Any] = stored
    return made


def verbs(answer: Any) -> list[str]:
    """The verbs of a document."""
    assert answer.status_code == 200
    return [verb.tag for verb in ET.fromstring(answer.text)]


async def secret_of(desk: Any) -> str:
    """What the project's requests are signed with."""
    wallet = await desk.plane.wallets.open(desk.project_id)
    secrets = asking.signing_secrets(desk.plane.config.key_pepper, desk.project_id, wallet)
    return str(secrets[0].reveal())


async def an_agent_of(desk: Any, project_id: str, name: str) -> AgentId:
    """A published production agent of any project, with the desk's agent's definition."""
    agent, version = AgentId(ids.mint(ids.AGENT)), VersionId(ids.mint(ids.VERSION))
    project = ids.parsed(ids.PROJECT, project_id)
    await desk.execute(
        "insert into agents (id, project_id, name, environment) values (%s, %s, %s, 'production')",
        ids.parsed(ids.AGENT, agent),
        project,
        name,
    )
    await desk.execute(
        "insert into agent_versions (id, project_id, agent_id, number, state, config, published_at)"
        " select %s, %s, %s, 1, 'published', config, now() from agent_versions where id = %s",
        ids.parsed(ids.VERSION, version),
        project,
        ids.parsed(ids.AGENT, agent),
        ids.parsed(ids.VERSION, desk.version_id),
    )
    return agent


async def test_the_projects_server_says_who_answers(
    desk: Any, worker: Any, server: UsersServer, settle: Any, sid: str, call_id: CallId
) -> None:
    """It is asked once, signed, with the call's real id; what it says reaches the call, its plan and its record.

    Five webhooks of one call at the same time, and one later, get the same answer byte for byte.
    """
    agent_id = await an_agent_of(desk, desk.project_id, "Reception")
    reply = {
        "agent_name": "Reception",
        "variables": {"name": "Ada"},
        "metadata": {"crm": "c-17"},
        "knowledge_context": "Ada is a {{patient}} customer since 2019.",
    }
    server.replies(reply)
    await settle()
    answer, *repeats = await asyncio.gather(*(desk.rings(sid) for _ in range(5)))
    assert verbs(answer) == ["Connect"]
    assert {repeat.content for repeat in [*repeats, await desk.rings(sid)]} == {answer.content}

    ((headers, body),) = server.asked
    verify([await secret_of(desk)], headers, body, time.time())
    asked = msgspec.json.decode(body)
    assert time.time() - datetime.fromisoformat(asked["timestamp"]).timestamp() < 60
    assert headers["webhook-id"] == f"init_{call_id}"
    assert asked["type"] == "call-init"
    assert asked["data"] == {
        "call_id": call_id,
        "project_id": desk.project_id,
        "number_id": desk.number_id,
        "channel": "phone",
        "direction": "inbound",
        "from_number": "+15550001111",
        "to_number": desk.number,
        "provider": "twilio",
        "provider_call_id": sid,
        "variables": {},
        "metadata": {},
    }

    plan: CallStart = worker.offers[-1].plan
    assert (plan.agent_id, plan.variables, plan.metadata) == (agent_id, reply["variables"], reply["metadata"])
    assert plan.knowledge_context == reply["knowledge_context"]
    shown = await desk.call(call_id)
    assert (shown["agent_id"], shown["variables"], shown["metadata"]) == (
        agent_id,
        reply["variables"],
        reply["metadata"],
    )
    decided = dict(shown["routing"])
    assert 0 <= decided.pop("asked_ms") < 3000
    assert decided == {"kind": "webhook", "is_inline": False, "is_fallback": False, "why": "", "attempts": 1}
    assert "call.routed" in await desk.types(call_id)
    await worker.opens(plan)
    form = desk.form(sid, CallStatus="in-progress")
    assert verbs(await desk.twilio_asks(f"/webhooks/twilio/voice/resume/{call_id}/1", form)) == ["Connect"]
    again: CallStart = worker.offers[-1].plan
    assert (again.epoch, again.knowledge_context) == (2, reply["knowledge_context"]), "the next worker knows it too"
    assert len(server.asked) == 1


async def test_an_agent_by_id_and_a_definition_for_one_call(
    desk: Any, worker: Any, server: UsersServer, settle: Any, config: dict[str, Any]
) -> None:
    """An id leads to the published version; a definition serves its call without agent or version, also resumed."""
    await settle()
    server.replies({"agent_id": desk.agent_id})
    sid = "CA" + uuid4().hex
    assert verbs(await desk.rings(sid)) == ["Connect"]
    shown = await desk.call(ids.inbound_call_id("twilio", "AC" + "a" * 32, sid))
    assert (shown["agent_id"], shown["version_id"]) == (desk.agent_id, desk.version_id)

    server.replies({"config": {**config, "first_message": "Hello, {{name}}."}, "variables": {"name": "Ada"}})
    sid = "CA" + uuid4().hex
    call_id = ids.inbound_call_id("twilio", "AC" + "a" * 32, sid)
    assert verbs(await desk.rings(sid)) == ["Connect"]
    plan: CallStart = worker.offers[-1].plan
    wanted = replace(msgspec.convert(config, AgentSpec), first_message="Hello, {{name}}.", language="en")
    assert (plan.agent, plan.agent_id, plan.version_id) == (wanted, None, None)
    assert list(plan.secrets) == ["deepgram"], "a definition gets the keys of its vendors"
    shown = await desk.call(call_id)
    assert (shown["agent_id"], shown["routing"]["is_inline"]) == (None, True)
    assert "first_message" not in str(shown), "the definition is not shown with the call"
    await worker.opens(plan)
    form = desk.form(sid, CallStatus="in-progress")
    assert verbs(await desk.twilio_asks(f"/webhooks/twilio/voice/resume/{call_id}/1", form)) == ["Connect"]
    assert worker.offers[-1].plan.agent == wanted


async def test_a_reply_of_no_use_gives_the_call_to_the_fallback_agent(
    desk: Any, worker: Any, server: UsersServer, settle: Any, config: dict[str, Any]
) -> None:
    """Whatever is wrong with a reply, the caller is answered, and the call says what it was.

    Another project's agent is as unknown as one that never was; such replies are not asked for twice, and do not open
    the circuit.
    """
    fallback = await an_agent_of(desk, desk.project_id, f"Fallback {uuid4()}")
    stranger = uuid4()
    await desk.execute("insert into projects (id, name) values (%s, 'Other')", stranger)
    foreign = await an_agent_of(desk, ids.written(ids.PROJECT, stranger), "Foreign")
    await settle(fallback={"agent_id": fallback})
    unpublished = "the server named an agent that the project has not published"
    pipeline = config["pipeline"]
    bad: list[tuple[web.Response, str]] = [
        (web.json_response({"agent_id": foreign}), unpublished),
        (web.json_response({"agent_name": "Foreign"}), unpublished),
        (web.json_response({"agent_name": "Nobody", "environment": "staging"}), unpublished),
        (web.json_response({}), "exactly one of agent_id, agent_name and config"),
        (web.json_response({"agent_id": foreign, "agent_name": "x"}), "exactly one of"),
        (web.json_response({"agent": "x"}), "agent: There is no such field; did you mean agent_id?"),
        (web.json_response({"agent_id": "agt_1"}), "agent_id: "),
        (web.json_response({"agent_id": foreign, "variables": {"n": 1}}), "variables"),
        (web.json_response({"agent_id": foreign, "knowledge_context": "x" * 8001}), "knowledge_context"),
        (web.json_response({"config": {**config, "timezone": "Mars/Olympus"}}), "config.timezone"),
        (
            web.json_response({"config": {**config, "pipeline": {**pipeline, "llm": {"vendor": "nobody"}}}}),
            "config.pipeline.llm.vendor",
        ),
        (
            web.json_response({"config": {**config, "pipeline": {**pipeline, "llm": {"vendor": "keyless"}}}}),
            "there is no key for keyless",
        ),
        (web.Response(body=b"not JSON"), "not JSON"),
        (web.Response(body=b"[" * 100), "nested deeper"),
        (web.Response(status=204), "204"),
        (web.Response(status=404), "404"),
        (web.Response(status=302, headers={"Location": server.url}), "302"),
    ]
    for reply, why in bad:
        server.asked.clear()
        server.says = lambda request, body, reply=reply: web.Response(  # type: ignore[misc]
            status=reply.status, headers=dict(reply.headers), body=reply.body
        )
        sid = "CA" + uuid4().hex
        assert verbs(await desk.rings(sid)) == ["Connect"]
        shown = await desk.call(ids.inbound_call_id("twilio", "AC" + "a" * 32, sid))
        assert shown["agent_id"] == fallback
        assert shown["routing"]["is_fallback"]
        assert why in shown["routing"]["why"]
        assert len(server.asked) == 1


async def test_replies_may_have_to_be_signed(desk: Any, worker: Any, server: UsersServer, settle: Any) -> None:
    """Unsigned, altered or signed for another call, a reply is of no use; signed for this one, it counts."""
    secret = await secret_of(desk)

    def signed(message_id: str, body: bytes, sent: bytes) -> web.Response:
        return web.Response(body=sent, headers=signed_headers([secret], message_id, int(time.time()), body))

    reply = msgspec.json.encode({"agent_id": desk.agent_id})
    await settle(signed_replies=True)
    for says, is_good in (
        (lambda request, body: web.Response(body=reply), False),
        (lambda request, body: signed(request.headers["webhook-id"], reply, reply + b" "), False),
        (lambda request, body: signed("init_call_other", reply, reply), False),
        (lambda request, body: signed(request.headers["webhook-id"], reply, reply), True),
    ):
        server.says = says
        sid = "CA" + uuid4().hex
        await desk.rings(sid)
        shown = await desk.call(ids.inbound_call_id("twilio", "AC" + "a" * 32, sid))
        assert (shown["agent_id"] == desk.agent_id) is is_good
        assert ("not signed" in shown["routing"]["why"]) is not is_good


async def test_a_server_that_fails_is_asked_once_more_and_then_not_for_a_while(
    desk: Any, worker: Any, server: UsersServer, settle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second attempt may succeed; in all it takes no longer than the budget; a dead server costs callers nothing."""
    fallback = await an_agent_of(desk, desk.project_id, f"Fallback {uuid4()}")
    await settle(fallback={"agent_id": fallback})
    monkeypatch.setattr(asking, "FIRST_ATTEMPT_S", 0.3)
    monkeypatch.setattr(asking, "BUDGET_S", 0.8)

    async def rung() -> dict[str, Any]:
        sid = "CA" + uuid4().hex
        assert verbs(await desk.rings(sid)) == ["Connect"]
        shown: dict[str, Any] = await desk.call(ids.inbound_call_id("twilio", "AC" + "a" * 32, sid))
        return {**shown["routing"], "agent_id": shown["agent_id"]}

    first = [web.Response(status=503)]
    server.says = lambda request, body: first.pop() if first else web.json_response({"agent_id": desk.agent_id})
    mended = await rung()
    assert (mended["agent_id"], mended["attempts"], mended["is_fallback"]) == (desk.agent_id, 2, False)
    assert {headers["webhook-id"] for headers, _ in server.asked} == {server.asked[0][0]["webhook-id"]}

    server.says = lambda request, body: 30.0
    for _ in range(2):
        slow = await rung()
        assert (slow["agent_id"], slow["attempts"]) == (fallback, 2)
        assert "no whole answer" in slow["why"]
        assert 800 <= slow["asked_ms"] < 1500
    server.asked.clear()
    spared = await rung()
    assert (spared["agent_id"], spared["attempts"], server.asked) == (fallback, 0, [])
    assert "not asked for a while" in spared["why"]


async def test_a_repeat_that_finds_nobody_asking_is_answered_all_the_same(
    desk: Any, worker: Any, server: UsersServer, settle: Any, monkeypatch: pytest.MonkeyPatch, sid: str, call_id: CallId
) -> None:
    """The process that asked the server died: a repeat waits for it in vain, then the fallback agent answers."""
    fallback = await an_agent_of(desk, desk.project_id, f"Fallback {uuid4()}")
    await settle(fallback={"agent_id": fallback})
    monkeypatch.setattr("turncall_control.calls.deciding.ROW_WITHIN_S", 0.3)
    assert await asking.is_first(desk.plane, call_id)
    assert verbs(await desk.rings(sid)) == ["Connect"]
    shown = await desk.call(call_id)
    assert (shown["agent_id"], shown["routing"]["attempts"], server.asked) == (fallback, 0, [])


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/", "http://0x7f.1/"])
async def test_a_forbidden_server_is_refused_when_it_is_written(desk: Any, settle: Any, url: str) -> None:
    """The number keeps its routing, and the field is named."""
    answer = await desk.http.patch(
        f"/v1/numbers/{desk.number_id}", json={"routing": {"kind": "webhook", "url": url}}, headers=desk.bearer
    )
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["routing.url"]
