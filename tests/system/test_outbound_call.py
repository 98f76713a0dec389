"""Agents that call people, machines and assistants, over the carrier's own wire."""

import asyncio

from msgspec.structs import replace

from turncall_phone.caller import Answers, AnyPhone, HangUp, Machine, Pause, Say, WaitForAgent
from turncall_proto.agent import AgentSpec, VendorRef, Voicemail
from turncall_testkit.audio import sounding_ms
from turncall_testkit.house import House, reached

ASKS, GREETS = "please state your name", "please leave a message after the tone"
MESSAGE, PURPOSE = "Hello {{name}}, your appointment is tomorrow at nine.", "This is the dentist, about {{name}}."
CALLER = Voicemail(action="leave_message", message=MESSAGE, purpose=PURPOSE)


async def test_everybody_who_answers_gets_what_is_theirs(house: House, agent: AgentSpec) -> None:
    """A person is greeted, a machine is left the message behind its beep, an assistant is told why, then the person.

    The machine's recording holds the message and nothing was said into its greeting; the rows and events say which.
    """
    pipeline = replace(agent.pipeline, stt=VendorRef(vendor="local", options={"phrases": [ASKS, GREETS]}))
    speaks = replace(agent, pipeline=pipeline, voicemail=CALLER, first_message="Good morning.")
    _, number = await house.answering(speaks, name="caller")
    hello, moment = Say(text="hello"), Pause(length_s=2)
    phones: dict[str, AnyPhone] = {
        "+14155550201": Answers(script=(Pause(length_s=0.3), hello, WaitForAgent(), HangUp())),
        "+14155550202": Machine(greeting=Say(text=GREETS), hangs_up_after_s=20.0),
        "+14155550203": Answers(
            script=(Pause(length_s=0.3), Say(text=ASKS), WaitForAgent(), moment, hello, WaitForAgent(), HangUp())
        ),
    }
    for person, phone in phones.items():
        house.carrier.expect(person, phone)
    placed = [
        await house.api.place_call(person, number.e164, agent_id=number.routing.agent_id, variables={"name": "Ada"})
        for person in phones
    ]
    calls = [await reached(house, person) for person in phones]
    await asyncio.gather(*(call.ended(timeout_s=60) for call in calls))
    told = []
    for one in placed:
        async for _ in house.api.follow(one.call.id):
            pass
        view = await house.api.call(one.call.id)
        types = {fact.type for fact in (await house.api.events(one.call.id)).items}
        said = [
            words.text for words in (await house.api.transcript(one.call.id)).utterances if words.speaker == "agent"
        ]
        told.append((view.status, view.ended_reason, "voicemail.detected" in types, said))
    message, purpose = MESSAGE.replace("{{name}}", "Ada"), PURPOSE.replace("{{name}}", "Ada")
    assert told == [
        ("completed", "customer_ended_call", False, ["Good morning."]),
        ("completed", "voicemail", True, [message]),
        ("completed", "customer_ended_call", False, [purpose, "Good morning."]),
    ]
    machine = calls[1]
    assert sounding_ms(machine.recorded, 8000), "the machine recorded nothing"
    greeting = machine.heard[: len(machine.heard) - len(machine.recorded)]
    assert sounding_ms(greeting, 8000) == [], "something was said into the machine's greeting"
