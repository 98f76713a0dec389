"""Calls that go from one agent to another, over both planes as processes and the emulated carrier."""

from typing import Any

import pytest

from turncall.demo.record import every_fact
from turncall_phone.caller import WaitForAgent, WaitForHangUp
from turncall_proto.agent import AgentSpec, Cascade, EndCallTool, HandoffTarget, HandoffTool, SpeechToSpeech, VendorRef
from turncall_proto.call import EndedReason
from turncall_proto.ids import AgentId
from turncall_testkit.house import House, said


def scripted(
    first_message: str, *intents: dict[str, Any], tools: Any = (), voice: str = "en-us", kind: str = "cascade"
) -> AgentSpec:
    """An agent of the local vendors that knows these intents, and ends the call at a goodbye."""
    goodbye = {"name": "bye", "hears": ["no thank you goodbye", "goodbye"], "says": "Bye.", "then": "end_call"}
    script = {"intents": [*intents, goodbye]}
    model = VendorRef(vendor="local", options={"script": script})
    return AgentSpec(
        pipeline=Cascade(
            stt=VendorRef(vendor="local"), llm=model, tts=VendorRef(vendor="local", options={"voice": voice})
        )
        if kind == "cascade"
        else SpeechToSpeech(model=model),
        first_message=first_message,
        tools=(EndCallTool(), *tools),
    )


def hears_hours(tool: str, arguments: dict[str, str]) -> dict[str, Any]:
    """The caller's wish to hear the opening hours, with which a tool is called."""
    calls = {"tool": tool, "arguments": arguments, "fails": "That did not work."}
    return {"name": "hours", "hears": ["what are your opening hours"], "calls": calls, "says": "Done."}


@pytest.mark.parametrize(("kind", "other"), [("cascade", "speech"), ("speech", "cascade")])
async def test_another_agent_goes_on_with_a_call(house: House, kind: str, other: str) -> None:
    """Its first words come on the same line, it knows what was said, and the record names it from there on; whichever
    of the two is one model that hears and speaks by itself."""
    desk, _ = await house.answering(scripted("Opening hours desk.", kind=other), name=f"a {other} takes over")
    target = HandoffTarget(name="hours", agent_id=AgentId(desk.id))
    first = scripted(
        "Reception.",
        hears_hours("handoff_to_agent", {"agent": "hours"}),
        tools=(HandoffTool(agents=(target,)),),
        kind=kind,
    )
    reception, number = await house.answering(first, name=f"a {kind} answers")
    script = [WaitForAgent(), said("hours"), WaitForAgent(), said("goodbye"), WaitForHangUp()]
    call = await house.dial(number, script)
    await call.ended(timeout_s=60)
    view = await house.record_of(call)
    assert (view.agent_id, view.ended_reason, view.missing_events) == (
        desk.id,
        EndedReason.ASSISTANT_ENDED_CALL,
        0,
    )
    spoken = [(line.speaker, line.text) for line in (await house.api.transcript(view.id)).utterances]
    assert [text for speaker, text in spoken if speaker == "agent"] == ["Reception.", "Opening hours desk.", "Bye."]
    facts = await every_fact(house.api, view.id)
    (handed,) = [fact for fact in facts if fact.type == "call.handoff"]
    assert (handed.data["from_agent_id"], handed.data["to_agent_id"]) == (reception.id, desk.id)
    opened = [fact for fact in facts if fact.type == "epoch.opened"]
    assert [fact.epoch for fact in opened] == [1, 2]
    asked = next(fact for fact in facts if fact.type == "tool.result")
    assert asked.data["is_ok"]
    heard = next(fact for fact in facts if fact.type == "utterance.begun" and fact.epoch == 2)
    gap_s = (heard.at - asked.at).total_seconds()
    assert gap_s < 1.5, f"the other agent was heard {gap_s:.2f} s after the first one gave the call away"
