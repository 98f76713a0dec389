"""Calls from web pages, over both planes as processes; the page is aiortc's."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from turncall.demo.record import every_fact
from turncall_control.webhooks.occurrences import OCCURRENCES
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import PUBLIC_TAGS
from turncall_proto.ids import CallId
from turncall_testkit.audio import level_dbfs, sounding_ms
from turncall_testkit.browser import RATE_HZ, Page
from turncall_testkit.house import House
from turncall_testkit.receiver import receiving

from .recordings import recording

WAIT_S = 30


async def published(house: House, agent: AgentSpec, name: str) -> str:
    """An agent without a number."""
    made = await house.api.create_agent(name, agent)
    await house.api.publish_agent(made.id)
    return made.id


def page_of(house: House, *, watches: bool = False, **wanted: Any) -> Page:
    """A page that calls with the project's key."""

    async def offer(sdp: str, pc_id: str | None, is_restarted: bool) -> tuple[str, str]:
        asked = {} if pc_id else wanted
        answer = await house.api.connect_browser(sdp, pc_id=pc_id, restart_pc=is_restarted, **asked)
        return answer.sdp, answer.pc_id

    return Page(offer, watches=watches)


async def ended(house: House, call_id: str | None):
    """The call's row, once `call.ended` was stated."""
    assert call_id is not None
    async for _ in house.api.follow(CallId(call_id)):
        pass
    return await house.api.call(CallId(call_id))


def mouth_px(picture: Any) -> int:
    """Dark pixels of the lower half: the mouth's."""
    return int((picture[picture.shape[0] // 2 :, :, 0] < 110).sum())


@pytest.mark.proves("agent.pipeline.cascade.avatar.vendor", "agent.pipeline.cascade.avatar.options")
async def test_a_page_talks_with_an_agent(house: House, agent: AgentSpec) -> None:
    """The project's server says with whom; sound both ways, barge-in, the page's messages, its record: as on the
    telephone, at 16 kHz. The page sees the agent's face, whose mouth opens while it speaks; one without room for it
    hears the same agent, and there is none."""
    assert isinstance(agent.pipeline, Cascade)
    drawn = replace(agent.pipeline, avatar=VendorRef(vendor="local", options={"size_px": 128}))
    agent_id = await published(house, replace(agent, pipeline=drawn), "called by a page")
    async with (
        receiving() as server,
        page_of(house, watches=True, routing={"kind": "webhook", "url": server.url}) as page,
    ):
        server.deed, server.answer = 200, msgspec.json.encode({"agent_id": agent_id}).decode()
        await page.connect()
        assert [request.type for request in server.received] == ["call-init"]
        page.send("client-ready", {"version": "1.1.0", "about": {"library": "test"}})
        await page.until("bot-ready")
        greeting = (await page.until("bot-transcription"))["data"]["text"]
        await page.until("bot-stopped-speaking")
        async with asyncio.timeout(WAIT_S):
            while len(page.seen) < 5 or mouth_px(page.seen[-1]) > 2 * min(map(mouth_px, page.seen)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert page.seen[-1].shape == (128, 128, 3)
        assert max(map(mouth_px, page.seen)) > 3 * min(map(mouth_px, page.seen))
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
    (used,) = [fact.data for fact in facts if fact.type == "usage.reported" and fact.data["kind"] == "avatar"]
    assert used["vendor"] == "local"
    assert used["audio_ms"] > 1000
    async with page_of(house, agent_id=agent_id) as blind:
        await blind.connect()
        await blind.until("bot-started-speaking")
    unseen = await every_fact(house.api, (await ended(house, blind.call_id)).id)
    assert not [fact for fact in unseen if fact.data.get("kind") == "avatar"]
