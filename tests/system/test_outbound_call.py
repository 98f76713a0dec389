"""Agents that call people, machines and assistants, over the carrier's own wire."""

import asyncio
import io
import wave

import numpy as np
import pytest
from msgspec.structs import replace

from turncall.client.transport import ApiError
from turncall.demo.record import every_fact
from turncall_phone.caller import Answers, AnyPhone, HangUp, Machine, Pause, Press, Say, WaitForAgent
from turncall_proto.agent import AgentSpec, RecordingConsent, VendorRef, Voicemail
from turncall_proto.ids import CallId
from turncall_testkit.audio import sounding_ms
from turncall_testkit.house import House, reached

from .tones import CALLER_HZ, hum

ASKS, GREETS = "please state your name", "please leave a message after the tone"
MESSAGE, PURPOSE = "Hello {{name}}, your appointment is tomorrow at nine.", "This is the dentist, about {{name}}."
ALLOWED = "May we record this call? Press one for yes, two for no."
CALLER = Voicemail(action="leave_message", message=MESSAGE, purpose=PURPOSE)


async def test_everybody_who_answers_gets_what_is_theirs_and_is_recorded_if_they_say_so(
    house: House, agent: AgentSpec
) -> None:
    """At once: persons, machines and an assistant, with an agent that does not record and one that asks first."""
    await asyncio.gather(each_gets_what_is_theirs(house, agent), recorded_from_the_yes_on(house, agent))


async def each_gets_what_is_theirs(house: House, agent: AgentSpec) -> None:
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


async def recorded_from_the_yes_on(house: House, agent: AgentSpec) -> None:
    """Nothing that was said before is kept; of who says no, and of a machine, nothing ever; the record says so."""
    pipeline = replace(agent.pipeline, stt=VendorRef(vendor="local", options={"phrases": [GREETS]}))
    asks = replace(
        agent,
        pipeline=pipeline,
        voicemail=replace(CALLER, message="Bye."),
        first_message="Good morning.",
        recording="on_consent",
        recording_consent=RecordingConsent(line=ALLOWED),
    )
    _, number = await house.answering(asks, name="asks before it records")
    hello, spoken = Say(text="hello"), hum(CALLER_HZ)
    answers = {
        key: Answers(script=(Pause(length_s=0.3), hello, WaitForAgent(), Press(digits=key), WaitForAgent(), *rest))
        for key, rest in (("1", (spoken, Pause(length_s=0.5), HangUp())), ("2", (spoken, HangUp())))
    }
    phones: dict[str, AnyPhone] = {
        "+14155550231": answers["1"],
        "+14155550232": answers["2"],
        "+14155550233": Machine(greeting=Say(text=GREETS), hangs_up_after_s=20.0),
    }
    for person, phone in phones.items():
        house.carrier.expect(person, phone)
    variables = {"name": "Ada"}
    placed = [
        await house.api.place_call(person, number.e164, agent_id=number.routing.agent_id, variables=variables)
        for person in phones
    ]
    await asyncio.gather(*[(await reached(house, person)).ended(timeout_s=60) for person in phones])
    yes, no, machine = [await _kept(house, one.call.id) for one in placed]
    assert yes == (["consented by keys"], [ALLOWED, "Good morning."], 1)
    assert no == (["declined by keys"], [ALLOWED, "Good morning."], 0)
    assert machine == ([], ["Bye."], 0)
    for one in placed[1:]:
        with pytest.raises(ApiError, match="404"):
            await house.api.recording(one.call.id)
    words = (await house.api.transcript(placed[0].call.id)).utterances
    greeted = next(line.start_ms for line in words if line.text == "Good morning.") * 8
    with wave.open(io.BytesIO(await house.api.recording(placed[0].call.id))) as sound:
        caller, heard = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2).T.astype(int)
    assert max(abs(caller[: greeted - 800]).max(), abs(heard[: greeted - 800]).max()) < 200
    assert min(abs(caller[greeted:]).max(), abs(heard[greeted:]).max()) > 1000


async def _kept(house: House, call_id: CallId) -> tuple[list[str], list[str], int]:
    """What was said of the recording, what the agent said, and how many recordings there are."""
    async for _ in house.api.follow(call_id):
        pass
    facts = await every_fact(house.api, call_id)
    changes = [f"{fact.data['change']} by {fact.data['by']}" for fact in facts if fact.type == "recording.changed"]
    said = [line.text for line in (await house.api.transcript(call_id)).utterances if line.speaker == "agent"]
    return changes, said, len([fact for fact in facts if fact.type == "recording.ready"])
