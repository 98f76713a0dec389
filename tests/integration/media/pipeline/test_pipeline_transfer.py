"""Letting a caller go to a person: asked for once, after the last words; and being back with the agent."""

from typing import Any

import pytest

from turncall_media.seams import Outcome
from turncall_media.tools import transfer_call
from turncall_proto.agent import TransferDestination, TransferTool
from turncall_proto.command import ActReply, Transfer, TransferOrder
from turncall_proto.events import ContextInjected, ToolReturned, TransferBegun

from .test_pipeline_resumed import agent_said, caller_said, past

DESK = TransferDestination(name="desk", to="+15550170001", description="The front desk.")
TOOL = TransferTool(
    name="connect",
    description="Connects the caller.",
    destinations=(DESK, TransferDestination(name="boss", to="sip:boss@example.com")),
    mode="warm",
    briefing="A caller.",
    briefs_with_summary=True,
    accept_key="1",
    ring_s=40,
)


@pytest.mark.proves(
    "agent.tools.transfer_call.name",
    "agent.tools.transfer_call.description",
    "agent.tools.transfer_call.mode",
    "agent.tools.transfer_call.briefing",
    "agent.tools.transfer_call.briefs_with_summary",
    "agent.tools.transfer_call.accept_key",
    "agent.tools.transfer_call.ring_s",
    "agent.tools.transfer_call.destinations.name",
    "agent.tools.transfer_call.destinations.to",
)
def test_the_model_lets_the_caller_go_after_its_last_words(stage: Any) -> None:
    """Control gets the whole order; the stream's end before its answer is no hang-up of the caller."""
    stage.script.caller = ["A person, please."]
    wish = {"destination": "boss", "summary": "They ask for a refund."}
    stage.script.replies = [stage.call("connect", wish, text="One moment.")]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: bool(scene.transfers))
        scene.carrier.hang_up()  # the carrier has begun to connect the caller
        assert await scene.outcome() == Outcome(state=None, reason=None, is_transferred=True)

    scene = stage.play(stage.an_agent(tools=(TOOL,)), act)
    order = TransferOrder(
        to="sip:boss@example.com",
        mode="warm",
        briefing="A caller. They ask for a refund.",
        accept_key="1",
        ring_s=40,
    )
    assert scene.transfers == [(order, "connect")]
    assert scene.transcript()[-1] == ("agent", "One moment.")
    assert [(fact.to, fact.mode) for fact in scene.facts.of(TransferBegun)] == [("sip:boss@example.com", "warm")]
    assert stage.script.tools[0] == ["Connects the caller."]


@pytest.mark.proves("agent.tools.transfer_call.destinations.description")
def test_only_the_persons_named_can_be_called(stage: Any) -> None:
    """Another name is refused before control is asked; what control refuses is told, and the conversation goes on."""
    stage.script.caller = ["A person, please."]
    stage.script.replies = [
        stage.call("connect", {"destination": "police", "summary": "x"}),
        stage.call("connect", {"destination": "desk", "summary": "x"}),
        "I cannot.",
    ]

    async def act(scene: Any) -> None:
        scene.transfer_reply = ActReply(is_taken=False, detail="the project does not allow that destination")
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "I cannot.")])
        scene.carrier.hang_up()
        assert (await scene.outcome()).reason == "customer_ended_call"

    scene = stage.play(stage.an_agent(tools=(TOOL,)), act)
    assert [order.to for order, _ in scene.transfers] == ["+15550170001"]
    assert [fact.is_ok for fact in scene.facts.of(ToolReturned)] == [False, False]
    assert "does not allow" in scene.facts.of(ToolReturned)[1].output["error"]
    described = transfer_call.parameters(TOOL)["properties"]["destination"]
    assert described["description"] == "desk: The front desk.; boss"


def test_a_person_has_the_caller_connected(stage: Any) -> None:
    """The line for the caller comes behind what is being said, and is heard before control is asked."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        reply = await scene.tell(Transfer, order=TransferOrder(to="+15550170001"), message="I connect you.")
        assert reply.outcome == "done"
        assert (await scene.outcome()).is_transferred

    scene = stage.play(stage.an_agent("One two three four."), act)
    assert scene.transcript() == [("agent", "One two three four."), ("agent", "I connect you.")]


def test_a_caller_who_is_back_is_told_why(stage: Any) -> None:
    """The agent speaks first, knowing what was said and that nobody took the call."""
    stage.script.replies = ["Nobody is there, I am sorry."]
    told = (ContextInjected, {"role": "system", "text": "Nobody answered.", "is_answered": True, "source": "t1"})

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.transcript() == [("agent", "Nobody is there, I am sorry.")])
        scene.carrier.hang_up()
        await scene.outcome()

    known = past(caller_said("A person, please.", 1), agent_said("One moment.", 1), told)
    stage.play(stage.an_agent(), act, past=known)
    assert stage.script.contexts[0][-1] == {"role": "system", "content": "Nobody answered."}
