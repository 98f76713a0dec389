"""Callers of a number whose agent is taken: its fallback phone, over the carrier's own wire."""

from msgspec.structs import replace

from turncall.client.shapes import AgentTarget, Fallback, Forward
from turncall.demo.record import every_fact, holes
from turncall_phone.caller import Answers, Busy, HangUp, Pause, WaitForHangUp
from turncall_proto.agent import AgentSpec
from turncall_testkit.house import House

from .tones import CALLER_HZ, PERSON_HZ, hum, loudness

PERSON = "+14155550221"


async def test_callers_whom_no_agent_can_take_are_connected_to_a_person(house: House, agent: AgentSpec) -> None:
    """With as many calls as the number may have the next one rings its fallback phone: both hear each other, and it is
    one call from the answer to the last word; where nobody answers there, the caller hears the last sentence."""
    made = await house.api.create_agent("one at a time", replace(agent, first_message="Good morning."))
    await house.api.publish_agent(made.id)
    number = await house.api.bind_number(
        next(house.free_numbers),
        AgentTarget(agent_id=made.id),
        fallback=Fallback(number=PERSON, sentence="Nobody is here."),
        busy=Forward(),
        max_concurrent_calls=1,
    )
    first = await house.dial(number, [WaitForHangUp(timeout_s=90)])
    await house.live(first)
    talks = (Pause(length_s=1.0), hum(PERSON_HZ), Pause(length_s=1.5), HangUp())
    house.carrier.expect(PERSON, Answers(after_s=0.5, script=talks))
    second = await house.dial(number, [Pause(length_s=0.3), hum(CALLER_HZ), WaitForHangUp()])
    await second.ended(timeout_s=60)
    house.carrier.expect(PERSON, Busy())
    third = await house.dial(number, [WaitForHangUp()])
    await third.ended(timeout_s=60)
    first.hang_up()

    view = await house.record_of(second)
    (talked, _) = [call for call in house.carrier.calls if call.to == PERSON]
    assert (talked.parent_sid, talked.from_) == (second.sid, second.from_)
    assert (view.status, view.ended_reason) == ("completed", "forwarded")
    assert loudness(second.heard, PERSON_HZ) > 500
    assert loudness(talked.heard, CALLER_HZ) > 500
    assert view.answered_at is not None
    assert view.duration_ms is not None
    assert abs(view.duration_ms - 1000 * second.duration_s) <= 1500
    assert view.duration_ms >= 1000 * (talked.duration_s - 1) >= 1000
    facts = await every_fact(house.api, view.id)
    assert holes(facts) == []
    told = {fact.type: fact.data for fact in facts}
    assert told["forward.begun"]["because"] == "no_capacity"
    assert (told["forward.ended"]["outcome"], told["forward.ended"]["reason"]) == ("completed", "forwarded")
    assert "epoch.opened" not in told
    assert [fact.type for fact in facts].count("call.ended") == 1

    refused = await house.record_of(third)
    assert (refused.status, refused.ended_reason) == ("completed", "no_capacity")
    assert third.heard_texts == ("Nobody is here.",)
