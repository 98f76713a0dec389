"""Voice calls over WhatsApp, over both planes as processes; Meta is emulated, and the person's phone is aiortc's."""

import asyncio

import pytest_asyncio

from turncall.client.shapes import AgentTarget, AgentView
from turncall.client.transport import ApiError
from turncall.demo.provision import receptionist as demonstration
from turncall.demo.record import every_fact
from turncall_control.webhooks.occurrences import OCCURRENCES
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import PUBLIC_TAGS
from turncall_proto.ids import CallId, inbound_call_id
from turncall_testkit.audio import level_dbfs
from turncall_testkit.browser import RATE_HZ
from turncall_testkit.house import SENDER, House
from turncall_testkit.whatsapp import Handset

from .recordings import recording

PERSON = "15550177001"
ELSEWHERE = {"call.handoff", "voicemail.detected", "analysis.completed"}
"""Events of calls that change hands, that a machine answers, or that a model reads afterwards."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def receptionist(house: House) -> AgentView:
    """An agent behind the sender's number."""
    made = await house.api.create_agent("called over WhatsApp", demonstration(house.tool_url))
    await house.api.publish_agent(made.id)
    await house.api.bind_number(f"+{SENDER.number}", AgentTarget(agent_id=made.id), carrier="whatsapp")
    return made


def taken(call_id: str) -> CallId:
    """The id that a person's call gets here."""
    return inbound_call_id("whatsapp", SENDER.id, call_id)


async def spoken(house: House, call_id: CallId, *, caller: int, agent: int) -> None:
    """Returns once both sides have said so much; a busy machine's database may be away for a moment."""
    async with asyncio.timeout(60):
        while True:
            try:
                said = [line.speaker for line in (await house.api.transcript(call_id)).utterances]
            except ApiError as error:
                if error.problem.status != 503:
                    raise
                said = []
            if said.count("caller") >= caller and said.count("agent") >= agent:
                return
            await asyncio.sleep(0.3)


async def test_a_person_calls_over_whatsapp_and_talks_with_an_agent(house: House, receptionist: AgentView) -> None:
    """Sound both ways after Meta took the call, orders of an operator, its record and its events: as on the telephone,
    at 16 kHz; the agent's goodbye ends the call at Meta."""
    async with Handset(house.meta, SENDER, PERSON) as handset:
        call = await handset.dial()
        call_id = taken(call.id)
        await handset.hears(500)
        assert -45 < level_dbfs(bytes(handset.heard)) < -5
        await house.api.inject(call_id, "The caller has been here before.")
        handset.say(recording("hours"))
        await spoken(house, call_id, caller=1, agent=2)
        handset.say(recording("goodbye"))
        await call.reaches("over", timeout_s=60)
    assert call.acts == ["pre_accept", "accept", "terminate"]
    async for _ in house.api.follow(call_id):
        pass
    view = await house.api.call(call_id)
    assert (view.channel, view.direction, view.status) == ("whatsapp", "inbound", CallState.COMPLETED)
    assert (view.ended_reason, view.missing_events) == (EndedReason.ASSISTANT_ENDED_CALL, 0)
    facts = await every_fact(house.api, view.id)
    assert {fact.type for fact in facts if fact.type in PUBLIC_TAGS} == {
        tag for tag, found in OCCURRENCES.items() if "whatsapp" in found.channels
    } - ELSEWHERE
    recorded = next(fact for fact in facts if fact.type == "recording.ready")
    assert recorded.data["rate_hz"] == RATE_HZ


async def test_a_person_hangs_up_over_whatsapp(house: House, receptionist: AgentView) -> None:
    """Meta's word that the person has hung up ends the call, as the customer's doing; Meta need not be told."""
    async with Handset(house.meta, SENDER, PERSON) as handset:
        call = await handset.dial()
        await handset.hears(200)
        handset.hang_up()
        async for _ in house.api.follow(taken(call.id)):
            pass
    view = await house.api.call(taken(call.id))
    assert (view.status, view.ended_reason) == (CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    assert call.acts == ["pre_accept", "accept"]


async def test_an_agent_calls_a_person_over_whatsapp(house: House, receptionist: AgentView) -> None:
    """A person who let the number call picks up, hears the agent at once, and is heard."""
    house.meta.calls.permit(SENDER, PERSON)
    made = await house.api.place_call(f"+{PERSON}", f"+{SENDER.number}", channel="whatsapp", agent_id=receptionist.id)
    async with Handset(house.meta, SENDER, PERSON) as handset:
        call = await handset.pick_up()
        await handset.hears(200)
        handset.say(recording("hours"))
        await spoken(house, made.call.id, caller=1, agent=2)
        handset.hang_up()
        async for _ in house.api.follow(made.call.id):
            pass
    view = await house.api.call(made.call.id)
    assert (view.channel, view.direction, view.provider_call_id) == ("whatsapp", "outbound", call.id)
    assert (view.status, view.ended_reason) == (CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
