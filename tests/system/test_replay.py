"""A recorded call is had again with other versions: its caller's own sound over real calls, tools answered as then.

By request only, `TURNCALL_REPLAY=1`: it lasts more than a minute, and what a recogniser hears on a busy machine is not
what it hears on an idle one.
"""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from turncall.client import ApiError
from turncall.client.suite_shapes import ReplayView
from turncall_phone.caller import HangUp, WaitForAgent
from turncall_proto.agent import AgentSpec, Cascade
from turncall_proto.ids import AgentId, CallId
from turncall_testkit.house import House, said, script_failure

from .test_suites import later, turncall

pytestmark = pytest.mark.skipif("TURNCALL_REPLAY" not in os.environ, reason="a minute of calls: TURNCALL_REPLAY=1")


def with_another_time(agent: AgentSpec) -> AgentSpec:
    """The receptionist with a regression: it books another time than was agreed."""
    assert isinstance(agent.pipeline, Cascade)
    script = msgspec.json.encode(agent.pipeline.llm.options["script"]).replace(b'"10:00"', b'"22:00"')
    return later(agent, script=msgspec.json.decode(script))


async def begun(house: House, call_id: CallId, agent_id: AgentId, number: str) -> ReplayView:
    """A replay with the agent's published version, as soon as the last facts of the call are stored."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await house.api.replay_call(call_id, agent_id=agent_id, from_number=number)
            except ApiError as error:
                if error.problem.status != 409:
                    raise
            await asyncio.sleep(0.2)


async def over(house: House, call_id: CallId, count: int) -> list[ReplayView]:
    """The replays of a call, once all of them are over; the first one first."""
    async with asyncio.timeout(120):
        while True:
            found = (await house.api.call_replays(call_id)).items
            if len(found) == count and all(replay.state != "running" for replay in found):
                return list(reversed(found))
            await asyncio.sleep(0.2)


async def told(house: House, call_id: CallId | None) -> list[tuple[str, str]]:
    """What happened on a call in its order, and what was said: all but the times."""
    assert call_id is not None
    return [(fact.type, str(fact.data.get("text", ""))) async for fact in house.api.follow(call_id)]


async def test_a_call_that_is_replayed_twice_is_the_same_and_a_regression_is_seen(
    house: House, agent: AgentSpec, tmp_path: Path
) -> None:
    """Nothing is booked again; who is slower is waited for; what the record does not answer fails, and is told."""
    agent = replace(agent, recording="on")
    receptionist, number = await house.answering(agent, name="Replayed")
    call = await house.dial(
        number,
        [
            WaitForAgent(),
            said("book"),
            WaitForAgent(),
            said("day"),
            WaitForAgent(),
            said("time"),
            WaitForAgent(),
            HangUp(),
        ],
    )
    await call.ended(timeout_s=60)
    assert script_failure(call) is None
    record = await house.record_of(call)
    booked = len(house.desk.booked)
    slow = await house.api.put_draft(receptionist.id, later(agent, delay_ms=1200))
    first = await begun(house, record.id, receptionist.id, number.e164)
    second = await begun(house, record.id, receptionist.id, number.e164)
    await house.api.replay_call(record.id, version_id=slow.id, from_number=number.e164)
    replays = await over(house, record.id, 3)
    assert [replay.id for replay in replays[:2]] == [first.id, second.id]
    for replay in replays:
        assert replay.difference is not None, replay.detail
        assert replay.difference.is_same, msgspec.json.format(msgspec.json.encode(replay)).decode()
    once, twice, _ = replays
    assert await told(house, once.replayed_as) == await told(house, twice.replayed_as)
    assert len(house.desk.booked) == booked, "what is replayed is not done again"

    await house.api.put_draft(receptionist.id, with_another_time(agent))
    arguments = ("replay", record.id, "--version", "Replayed:draft", "--from", number.e164)
    code, printed = await turncall(house, tmp_path, *arguments)
    assert code == 1, printed
    assert "! the record does not answer book_appointment({" in printed
