"""Calls from web pages, over both planes as processes; the page is aiortc's."""

from typing import Any

import msgspec

from turncall.demo.record import every_fact
from turncall_control.webhooks.occurrences import OCCURRENCES
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import PUBLIC_TAGS
from turncall_proto.ids import CallId
from turncall_testkit.audio import level_dbfs, sounding_ms
from turncall_testkit.browser import RATE_HZ, Page
from turncall_testkit.house import House
from turncall_testkit.receiver import receiving

from .recordings import recording


async def published(house: House, agent: AgentSpec, name: str) -> str:
    """An agent without a number."""
    made = await house.api.create_agent(name, agent)
    await house.api.publish_agent(made.id)
    return made.id


def page_of(house: House, **wanted: Any) -> Page:
    """A page that calls with the project's key."""

    async def offer(sdp: str, pc_id: str | None, is_restarted: bool) -> tuple[str, str]:
        asked = {} if pc_id else wanted
        answer = await house.api.connect_browser(sdp, pc_id=pc_id, restart_pc=is_restarted, **asked)
        return answer.sdp, answer.pc_id

    return Page(offer)


async def ended(house: House, call_id: str | None):
    """The call's row, once `call.ended` was stated."""
    assert call_id is not None
    async for _ in house.api.follow(CallId(call_id)):
        pass
    return await house.api.call(CallId(call_id))


async def test_a_page_talks_with_an_agent(house: House, agent: AgentSpec) -> None:
    """The project's server says with whom; sound both ways, barge-in, the page's messages, its record: as on the
    telephone, at 16 kHz."""
    agent_id = await published(house, agent, "called by a page")
    async with (
        receiving() as server,
        page_of(house, routing={"kind": "webhook", "url": server.url}) as page,
    ):
        server.deed, server.answer = 200, msgspec.json.encode({"agent_id": agent_id}).decode()
        await page.connect()
        assert [request.type for request in server.received] == ["call-init"]
        page.send("client-ready", {"version": "1.1.0", "about": {"library": "test"}})
        await page.until("bot-ready")
        greeting = (await page.until("bot-transcription"))["data"]["text"]
        await page.until("bot-stopped-speaking")
        assert sounding_ms(bytes(page.heard), RATE_HZ)
        assert -45 < level_dbfs(bytes(page.heard)) < -5
        page.say(recording("hours"))
        asked = await page.until("user-transcription", final=True)
        assert asked["data"]["text"] == "what are your opening hours"
        await page.until("user-started-speaking")
        page.send("nonsense")
        assert (await page.until("error-response"))["id"] == "nonsense"
        page.say(recording("goodbye"))
        await page.until("peerLeft")
    view = await ended(house, page.call_id)
    assert (view.channel, view.direction, view.status) == ("browser", "inbound", CallState.COMPLETED)
    assert (view.ended_reason, view.missing_events) == (EndedReason.ASSISTANT_ENDED_CALL, 0)
    spoken = [(line.speaker, line.text) for line in (await house.api.transcript(view.id)).utterances]
    assert spoken[0] == ("agent", greeting)
    assert ("caller", "what are your opening hours") in spoken
    facts = await every_fact(house.api, view.id)
    kinds = [fact.type for fact in facts]
    assert kinds.index("call.initializing") < kinds.index("call.answered") < kinds.index("call.started")
    assert all("browser" in OCCURRENCES[kind].channels for kind in kinds if kind in PUBLIC_TAGS)
    recorded = next(fact for fact in facts if fact.type == "recording.ready")
    assert recorded.data["rate_hz"] == RATE_HZ
