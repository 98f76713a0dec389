"""Calls from web pages, over both planes as processes; the page is aiortc's."""

import asyncio
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from turncall.client.transport import ApiError
from turncall.demo.record import every_fact
from turncall_control.webhooks.occurrences import OCCURRENCES
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import PUBLIC_TAGS
from turncall_proto.ids import AgentId, CallId
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


async def test_a_call_from_a_page_is_controlled_live(house: House, agent: AgentSpec) -> None:
    """Every command of a phone call reaches the page's, but one that needs a carrier, which is refused with the reason;
    another agent takes over on the same connection."""
    agent_id = await published(house, agent, "controlled on a page")
    closing = replace(agent, first_message="This is the other desk.")
    other_id = await published(house, closing, "takes a page over")
    async with page_of(house, agent_id=agent_id) as page:
        await page.connect()
        page.send("client-ready", {"version": "2.1.0", "about": {"library": "test"}})
        call_id = CallId(str(page.call_id))
        await page.until("bot-started-speaking")
        with pytest.raises(ApiError, match="no carrier") as refused:
            await house.api.transfer(call_id, "+15550100")
        assert refused.value.problem.status == 409
        await house.api.mute(call_id)
        await page.until("bot-stopped-speaking")
        await house.api.unmute(call_id)
        await house.api.inject(call_id, "The visitor is Ada.")
        await house.api.pause_recording(call_id)
        await house.api.resume_recording(call_id)
        await house.api.say(call_id, "One moment.")
        await page.until("bot-output", text="One moment.", spoken_status="completed")
        so_far = len(page.heard)
        await house.api.send_dtmf(call_id, "1111")
        await house.api.say(call_id, "Thank you.")
        await page.until("bot-output", text="Thank you.", spoken_status="completed")
        assert has_key_one(bytes(page.heard[so_far:]))
        await house.api.hand_off(call_id, AgentId(other_id), reason="a test")
        await page.until("bot-output", text="This is the other desk.")
        await house.api.end_call(call_id)
        await page.until("peerLeft")
    view = await ended(house, page.call_id)
    assert (view.ended_reason, view.missing_events) == (EndedReason.API_ENDED_CALL, 0)
    facts = await every_fact(house.api, view.id)
    done = [fact.data["command"] for fact in facts if fact.type == "command.done"]
    switched = ["recording_pause", "recording_resume"]
    assert done == ["mute", "unmute", "inject", *switched, "say", "dtmf", "say", "handoff", "end"]


def has_key_one(pcm: bytes) -> bool:
    """Whether somewhere for 50 ms there are the two pitches of this key, and little between them."""
    frames = np.frombuffer(pcm[: len(pcm) // 1600 * 1600], "<i2").reshape(-1, 800).astype(float)
    levels = np.abs(np.fft.rfft(frames * np.hanning(800), axis=1))  # 20 Hz each
    low, between, high = levels[:, 35], levels[:, 47], levels[:, 60]
    return bool(np.any((low > 10 * between) & (high > 10 * between) & (low > 10_000)))
