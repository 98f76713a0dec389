"""Calls go on, and their records are complete, while the servers that the platform leans on are killed."""

import asyncio
from http import HTTPStatus

from turncall.client import ApiError
from turncall.client.shapes import NumberView
from turncall.demo.record import every_fact, holes
from turncall.demo.run import UTTERANCES
from turncall_phone.calls import Call, CallStatus
from turncall_proto.agent import AgentSpec
from turncall_testkit.house import House, conversation

LASTS_S = 150.0
AWAY_S = 3.0
SERVERS = ("nats", "postgres", "redis", "s3")


async def test_calls_outlive_every_server_that_is_killed(house: House, agent: AgentSpec) -> None:
    """kill -9 of one server after another, each back after three seconds; each is killed while the agent of a call of
    its own greets, and later calls begin in the middle of earlier ones: one booking each, no hole, every word, all of
    the sound."""
    _, number = await house.answering(agent, name="without servers")
    calls = [await _struck(house, number, server) for server in SERVERS]
    for server, call in zip(SERVERS, calls, strict=True):
        assert await call.ended(timeout_s=LASTS_S) is CallStatus.COMPLETED, server
        await _check(house, call, server)


async def _struck(house: House, number: NumberView, server: str) -> Call:
    """A call, in whose greeting a server was killed; it is back."""
    call = await house.dial(number, conversation(*UTTERANCES))
    await call.answered(timeout_s=30)
    await _is_greeted(house, call.sid)
    struck = getattr(house.servers, server)
    await struck.kill()
    try:
        await asyncio.sleep(AWAY_S)
    finally:
        await struck.start()
    await _answers(house)
    return call


async def _answers(house: House) -> None:
    """Returns once the API has found its database again."""
    async with asyncio.timeout(30):
        while True:
            try:
                await house.api.calls(limit=1)
            except ApiError as error:
                if error.problem.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                await asyncio.sleep(0.1)
            else:
                return


async def _check(house: House, call: Call, server: str) -> None:
    view = await house.record_of(call)
    assert (view.status, view.ended_reason, view.missing_events) == ("completed", "assistant_ended_call", 0), server
    facts = await every_fact(house.api, view.id)
    assert holes(facts) == []
    types = [fact.type for fact in facts]
    assert (types.count("call.ended"), types.count("call.resumed")) == (1, 0), server
    (booking,) = [use for use in (await house.api.tools(view.id)).tools if use.tool == "book_appointment"]
    assert booking.is_ok
    words = (await house.api.transcript(view.id)).utterances
    assert [said.turn for said in words if said.speaker == "caller"] == list(range(1, len(UTTERANCES) + 1)), server
    assert "recording.ready" in types, "the store was back before the call was over"
    stereo_s = (len(await house.api.recording(view.id)) - 44) / 4 / 8000
    assert view.started_at is not None
    assert view.ended_at is not None
    assert stereo_s > 0.9 * (view.ended_at - view.started_at).total_seconds(), server


async def _is_greeted(house: House, sid: str) -> None:
    """Returns once the agent has begun to speak, by the call's own record."""
    page = await house.api.calls(limit=50)
    call_id = next(view.id for view in page.items if view.provider_call_id == sid)
    async with asyncio.timeout(30):
        async for fact in house.api.follow(call_id, internal=True):
            if fact.type == "utterance.begun":
                return
