"""Calls from web pages as control decides about them: who may make one, what comes of it, who goes on with it."""

import hmac
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from httpx import Response
from psycopg.types.json import Jsonb

from turncall_proto import ids, subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode_exchange, encode
from turncall_proto.webrtc import CandidatesTold, SdpOffered, SdpReply
from turncall_runtime.secret import Secret

from .test_handoffs import another_agent
from .users_server import serving

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
SHOP = {"Origin": "https://shop.example.com"}
TURN_SECRET = "a-secret-of-the-relay"
ENDED = (CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)


class Line:
    """A worker's side of the exchange: keeps what it is asked, answers with ``reply``."""

    def __init__(self) -> None:
        self.asked: list[SdpOffered | CandidatesTold] = []
        self.reply = SdpReply(outcome="done", sdp="v=0 the worker's")

    async def answer(self, data: bytes) -> bytes:
        self.asked.append(decode_exchange(data))
        return encode(self.reply)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(open_desk, rest_of_nobody) -> AsyncIterator[Any]:
    """A control plane with a relay for browsers."""
    relay = {"turn_urls": ("turn:turn.example.com",), "turn_secret": Secret(TURN_SECRET)}
    async with open_desk(rest_of_nobody, **relay) as desk:
        yield desk


@pytest.fixture(scope="module")
def rest_of_nobody():
    """No carrier is asked here."""

    class Nobody:
        base_url = "http://127.0.0.1:9"

    return Nobody()


@pytest_asyncio.fixture(loop_scope="session")
async def line(desk, worker) -> AsyncIterator[Line]:
    """The worker takes offers of sound."""
    line = Line()
    serving = await desk.bus.serve(subjects.sdp(worker.id), line.answer)
    yield line
    await serving.close()


async def asked(desk, body: dict[str, Any], token: str = "", method: str = "POST", **headers: str) -> Response:
    """One request of a page, with a client token or with the project's key."""
    bearer = {"Authorization": f"Bearer {token}"} if token else desk.bearer
    return await desk.http.request(method, "/v1/webrtc/connect", json=body, headers=bearer | headers)


async def token_for(desk, **wanted: Any) -> dict[str, Any]:
    """A client token for the desk's agent."""
    body = {"agent_id": desk.agent_id, **wanted}
    answer = await desk.http.post("/v1/webrtc/tokens", headers=desk.bearer, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def offer(**more: Any) -> dict[str, Any]:
    """What Pipecat's client sends."""
    return {"sdp": SDP, "type": "offer", "pc_id": None, "restart_pc": False, **more}


async def test_a_token_opens_one_call(desk, worker, line) -> None:
    """The call has its id, its variables and its length; the page goes on with it, and with no other."""
    made = await token_for(desk, variables={"visitor": "Ada"}, max_duration_s=60)
    bad = await asked(desk, offer(), made["token"][:-1] + ("A" if made["token"][-1] != "A" else "B"))
    assert bad.status_code == 401
    another = {"agent_id": "agt_" + "0" * 32, "variables": {"visitor": "Mallory"}}
    answer = await asked(desk, offer(requestData=another), made["token"], **SHOP)
    assert answer.json() == {"sdp": "v=0 the worker's", "type": "answer", "pc_id": made["call_id"]}
    assert answer.headers["access-control-allow-origin"] == "*"
    plan = worker.offers[-1].plan
    assert plan.agent_id == desk.agent_id  # the token says who is called
    assert (plan.call_id, plan.channel, plan.variables) == (made["call_id"], "browser", {"visitor": "Ada"})
    assert plan.agent.max_duration_s == 60
    offered = line.asked[-1]
    assert isinstance(offered, SdpOffered)
    (relay,) = offered.ice_servers
    assert relay.username.endswith(made["call_id"])
    wanted = hmac.digest(TURN_SECRET.encode(), relay.username.encode(), "sha1")
    assert relay.credential == b64encode(wanted).decode()
    shown = await desk.http.get("/v1/webrtc/ice-servers", headers={"Authorization": f"Bearer {made['token']}"})
    assert shown.json()["iceServers"][0]["urls"] == ["turn:turn.example.com"]

    again = await asked(desk, offer(), made["token"])
    assert again.json()["pc_id"] == made["call_id"]
    last = line.asked[-1]
    assert isinstance(last, SdpOffered)
    assert (last.is_new, last.epoch) == (True, 1)
    assert worker.offers[-1].plan is plan
    candidate = {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdp_mid": "0", "sdp_mline_index": 0}
    trickled = {"pc_id": made["call_id"], "candidates": [candidate]}
    assert (await asked(desk, trickled, made["token"], "PATCH")).json() == {"status": "success"}
    assert isinstance(line.asked[-1], CandidatesTold)
    foreign = {**trickled, "pc_id": "call_" + "0" * 32}
    assert (await asked(desk, foreign, made["token"], "PATCH")).status_code == 404
    assert (await asked(desk, offer(pc_id="call_" + "0" * 32), made["token"])).status_code == 404
    elsewhere = {"Authorization": f"Bearer {made['token']}"}
    assert (await desk.http.get("/v1/calls", headers=elsewhere)).status_code == 401


async def test_a_token_opens_nothing_after_its_time(desk, worker, line) -> None:
    """A page that comes too late is refused like one without a token."""
    made = await token_for(desk)
    call = ids.parsed(ids.CALL, made["call_id"])
    await desk.execute("update client_tokens set expires_at = now() - interval '1 second' where id = %s", call)
    assert (await asked(desk, offer(), made["token"])).status_code == 401


@pytest.mark.proves("settings.browser.allowed_origins")
async def test_pages_call_from_where_the_project_lets_them(desk, worker, line) -> None:
    """A token's own origins come before the project's; a key that a page shows is held to them as well."""
    project = ids.parsed(ids.PROJECT, desk.project_id)
    settings = Jsonb({"browser": {"allowed_origins": [SHOP["Origin"]]}})
    await desk.execute("update projects set settings = %s where id = %s", settings, project)
    desk.plane.settings.forget(desk.project_id)
    stranger = {"Origin": "https://evil.example.com"}
    wanted = {"requestData": {"agent_id": desk.agent_id}}
    try:
        made = await token_for(desk)
        for headers in (stranger, {}):
            refused = await asked(desk, offer(), made["token"], **headers)
            assert (refused.status_code, refused.json()["type"]) == (403, "urn:turncall:problem:origin-not-allowed")
            assert refused.headers["access-control-allow-origin"] == "*"
        assert (await asked(desk, offer(**wanted), **stranger)).status_code == 403
        assert (await asked(desk, offer(), made["token"], **SHOP)).status_code == 200
        narrow = await token_for(desk, origins=[stranger["Origin"]])
        assert (await asked(desk, offer(), narrow["token"], **SHOP)).status_code == 403
        assert (await asked(desk, offer(), narrow["token"], **stranger)).status_code == 200
        assert (await asked(desk, offer(**wanted))).status_code == 200
    finally:
        await desk.execute("update projects set settings = '{}' where id = %s", project)
        desk.plane.settings.forget(desk.project_id)


async def test_a_browser_asks_first(desk) -> None:
    """The preflight of a page from elsewhere is answered without a key; other paths are not shared."""
    preflight = {"Origin": SHOP["Origin"], "Access-Control-Request-Method": "POST"}
    answer = await desk.http.options("/v1/webrtc/connect", headers=preflight)
    assert answer.headers["access-control-allow-methods"] == "OPTIONS, PATCH, POST"
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-origin" not in (await desk.http.options("/v1/calls", headers=preflight)).headers


async def test_a_call_that_comes_to_nothing_says_why(desk, worker, line) -> None:
    """An offer without sound makes no call; one that the worker refuses, or does not answer, ends the call it made."""
    wanted = {"requestData": {"agent_id": desk.agent_id}}
    count = "select count(*) from calls where channel = 'browser'"
    (before,) = await desk.rows(count)
    silent = await asked(desk, offer(**wanted) | {"sdp": SDP.replace("m=audio", "m=video")})
    assert (silent.status_code, silent.json()["errors"][0]["field"]) == (422, "sdp")
    assert (await asked(desk, offer())).json()["errors"][0]["field"] == "requestData"
    assert await desk.rows(count) == [before]
    line.reply = SdpReply(outcome="refused", detail="the offer holds no sound: it needs an audio line")
    refused = await asked(desk, offer(**wanted))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "sdp")
    ended = await desk.becomes(worker.offers[-1].plan.call_id, status="failed")
    assert ended["ended_reason"] == EndedReason.TELEPHONY_FAILED
    assert (await desk.types(ended["id"]))[-1] == "call.ended"


async def test_nobody_free(desk) -> None:
    """Without a worker the page is told to come back, and the call that it made says so; a limit is a 429."""
    wanted = {"requestData": {"agent_id": desk.agent_id}}
    await desk.comes_true(lambda: not desk.plane.workers.alive("calls"))
    refused = await asked(desk, offer(**wanted))
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:turncall:problem:no-capacity")
    assert refused.headers["retry-after"] == "2"
    reasons = await desk.rows(
        "select ended_reason from calls where channel = 'browser' order by created_at desc limit 1"
    )
    assert reasons == [(EndedReason.NO_CAPACITY,)]
    agent = f"/v1/agents/{desk.agent_id}"
    await desk.http.patch(agent, headers=desk.bearer, json={"max_concurrent_calls": 0})
    assert (await asked(desk, offer(**wanted))).status_code == 429
    await desk.http.patch(agent, headers=desk.bearer, json={"max_concurrent_calls": None})


async def test_another_worker_goes_on(desk, worker, line, open_worker) -> None:
    """A page whose worker has left the call offers anew, and the next epoch is another worker's; a call that is over
    is a 409, one of another project a 404."""
    call_id = (await asked(desk, offer(requestData={"agent_id": desk.agent_id}))).json()["pc_id"]
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    await desk.becomes(call_id, status="in_progress")
    async with open_worker(desk) as second:
        other = Line()
        serving = await desk.bus.serve(subjects.sdp(second.id), other.answer)
        line.reply = SdpReply(outcome="unknown")
        worker.answer = "draining"
        renewed = await asked(desk, offer(pc_id=call_id, restart_pc=True))
        assert renewed.status_code == 200, renewed.text
        resumed = second.offers[-1].plan
        assert (resumed.call_id, resumed.epoch) == (call_id, 2)
        assert resumed.resume is not None
        assert resumed.resume.from_worker == worker.id
        (offered,) = other.asked
        assert (offered.epoch, offered.call_id) == (2, call_id)
        await second.opens(resumed)
        strangers = await desk.another_project()
        refused = await desk.http.post("/v1/webrtc/connect", headers=strangers, json=offer(pc_id=call_id))
        assert refused.status_code == 404
        await second.closes(resumed, *ENDED)
        await desk.becomes(call_id, status="completed")
        assert (await asked(desk, offer(pc_id=call_id))).status_code == 409
        await serving.close()


async def routed_token(desk, routing: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """A client token whose call is decided about when it is made."""
    answer = await desk.http.post("/v1/webrtc/tokens", headers=desk.bearer, json={"routing": routing, **wanted})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_the_projects_server_says_who_answers_a_page(desk, worker, line) -> None:
    """It is asked as about a phone call, with what the token says of the page; its reply joins that, and its definition
    serves the call, also when another worker goes on. Without a reply the fallback agent answers, and without one
    nobody does: the call says why, and the page is refused."""
    other, version = await another_agent(desk, "Sales.")
    ((config,),) = await desk.rows(
        "select config from agent_versions where id = %s", ids.parsed(ids.VERSION, desk.version_id)
    )
    async with serving() as server:
        routing = {"kind": "webhook", "url": server.url}
        server.replies(
            {"config": {**config, "first_message": "Hello, {{name}}."}, "variables": {"name": "Ada"}, "metadata": {}}
        )
        made = await routed_token(desk, routing, variables={"name": "nobody"}, metadata={"page": "pricing"})
        assert server.asked == [], "it is asked about calls, not about tokens"
        answer = await asked(desk, offer(requestData={"agent_id": desk.agent_id}), made["token"])
        assert answer.status_code == 200, answer.text
        ((headers, body),) = server.asked
        question = json.loads(body)["data"]
        assert headers["webhook-id"] == f"init_{made['call_id']}"
        assert {name: question[name] for name in ("call_id", "channel", "number_id", "from_number")} == {
            "call_id": made["call_id"],
            "channel": "browser",
            "number_id": None,
            "from_number": "",
        }
        assert (question["variables"], question["metadata"]) == ({"name": "nobody"}, {"page": "pricing"})
        plan = worker.offers[-1].plan
        assert (plan.agent.first_message, plan.variables) == ("Hello, {{name}}.", {"name": "Ada"})
        shown = await desk.call(made["call_id"])
        assert (shown["agent_id"], shown["metadata"]) == (None, {"page": "pricing"})
        assert (shown["routing"]["kind"], shown["routing"]["is_inline"]) == ("webhook", True)
        assert "call.routed" in await desk.types(made["call_id"])

        server.replies({"agent_name": "No such agent"})
        made = await routed_token(desk, routing, fallback_agent_id=other)
        assert (await asked(desk, offer(), made["token"])).status_code == 200
        assert worker.offers[-1].plan.version_id == version
        shown = await desk.call(made["call_id"])
        assert (shown["agent_id"], shown["routing"]["is_fallback"]) == (other, True)
        made = await routed_token(desk, routing)
        refused = await asked(desk, offer(), made["token"])
        assert (refused.status_code, refused.json()["type"].rsplit(":", 1)[-1]) == (409, "no-agent-answers")
        await desk.becomes(made["call_id"], status="failed", ended_reason="rejected")


async def test_pages_are_divided_among_variants(desk, worker, line) -> None:
    """By their calls, as callers without a number are; the variant is stamped on the call. Agents of nobody, and two
    ways to find one, are refused by name."""
    other, _ = await another_agent(desk, "Sales.")
    variants = [
        {"name": "calm", "agent_id": desk.agent_id, "weight": 50},
        {"name": "brisk", "agent_id": other, "weight": 50},
    ]
    routing = {"kind": "weighted", "variants": variants}
    fell_to = set()
    for _ in range(40):  # one in 10^11 that all fall to one variant
        made = await routed_token(desk, routing)
        await asked(desk, offer(), made["token"])  # decided about before a worker is looked for, which may be slow
        shown = await desk.call(made["call_id"])
        assert shown["agent_id"] == {"calm": desk.agent_id, "brisk": other}[shown["variant"]]
        fell_to.add(shown["variant"])
        if len(fell_to) == 2:
            break
    assert fell_to == {"calm", "brisk"}
    nobody = "agt_" + "0" * 32
    for wanted, field in (
        ({"routing": {"kind": "agent", "agent_id": nobody}}, "routing.agent_id"),
        ({"routing": routing, "fallback_agent_id": nobody}, "fallback_agent_id"),
        ({"routing": routing, "agent_id": other}, "routing"),
        ({"agent_id": other, "fallback_agent_id": other}, "fallback_agent_id"),
        ({"routing": {"kind": "webhook", "url": "http://10.0.0.1/"}}, "routing.url"),
        ({}, "agent_id"),
    ):
        token = await desk.http.post("/v1/webrtc/tokens", headers=desk.bearer, json=wanted)
        for answer in (token, await asked(desk, offer(requestData=wanted))):
            assert answer.status_code == 422, answer.text
            assert [fault["field"] for fault in answer.json()["errors"]] == [field]
