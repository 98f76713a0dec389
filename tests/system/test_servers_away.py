"""A call goes on, and its record is complete, while a server that the platform leans on is killed."""

import asyncio

import pytest

from turncall.demo.record import every_fact, holes
from turncall.demo.run import UTTERANCES
from turncall_phone.calls import CallStatus
from turncall_proto.agent import AgentSpec
from turncall_testkit.house import House, conversation

LASTS_S = 120.0
AWAY_S = 3.0


@pytest.mark.parametrize("server", ["nats", "postgres", "redis", "s3"])
async def test_a_call_outlives_a_killed_server(house: House, agent: AgentSpec, server: str) -> None:
    """kill -9 while the agent speaks, back after three seconds: one booking, no hole, every word, all of the sound."""
    _, number = await house.answering(agent, name=f"without {server}")
    call = await house.dial(number, conversation(*UTTERANCES))
    await call.answered(timeout_s=10)
    await _is_greeted(house, call.sid)
    struck = getattr(house.servers, server)
    await struck.kill()
    try:
        await asyncio.sleep(AWAY_S)
    finally:
        await struck.start()
    assert await call.ended(timeout_s=LASTS_S) is CallStatus.COMPLETED
    view = await house.record_of(call)
    assert (view.status, view.ended_reason, view.missing_events) == ("completed", "assistant_ended_call", 0)
    facts = await every_fact(house.api, view.id)
    assert holes(facts) == []
    types = [fact.type for fact in facts]
    assert (types.count("call.ended"), types.count("call.resumed")) == (1, 0)
    (booking,) = [use for use in (await house.api.tools(view.id)).tools if use.tool == "book_appointment"]
    assert booking.is_ok
    words = (await house.api.transcript(view.id)).utterances
    assert [said.turn for said in words if said.speaker == "caller"] == list(range(1, len(UTTERANCES) + 1))
    assert "recording.ready" in types, "the store was back before the call was over"
    stereo_s = (len(await house.api.recording(view.id)) - 44) / 4 / 8000
    assert view.duration_ms is not None
    assert stereo_s > 0.9 * view.duration_ms / 1000


async def _is_greeted(house: House, sid: str) -> None:
    """Returns once the agent has begun to speak, by the call's own record."""
    page = await house.api.calls(limit=50)
    call_id = next(view.id for view in page.items if view.provider_call_id == sid)
    async with asyncio.timeout(10):
        async for fact in house.api.follow(call_id, internal=True):
            if fact.type == "utterance.begun":
                return
