"""A call that is given to another agent: asked for once, after the last words, and begun by the other one."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from turncall_media.seams import Outcome
from turncall_media.tools import handoff_to_agent
from turncall_proto.agent import HandoffTarget, HandoffTool
from turncall_proto.command import CommandReply, HandOff, HandoffReply
from turncall_proto.events import CallHandoff, ToolReturned

from .both import BOTH
from .test_pipeline_resumed import agent_said, caller_said, past

pytestmark = BOTH

BILLING = "agt_" + "b" * 32
SALES = "agt_" + "c" * 32
TOOL = HandoffTool(
    name="pass_on",
    description="Gives the caller to a colleague.",
    agents=(
        HandoffTarget(name="sales", agent_id=SALES),
        HandoffTarget(name="billing", agent_id=BILLING, description="Invoices."),
    ),
)


def with_another(scene: Any) -> None:
    """Control agrees."""
    scene.handoff_reply = HandoffReply(plan=replace(scene.plan, epoch=2, agent_id=BILLING))


@pytest.mark.proves(
    "agent.tools.handoff_to_agent.name",
    "agent.tools.handoff_to_agent.description",
    "agent.tools.handoff_to_agent.agents.name",
    "agent.tools.handoff_to_agent.agents.agent_id",
)
def test_the_model_gives_the_call_away_after_its_last_words(stage: Any) -> None:
    """The words are heard to their end, the agent that was named gets the call, and the tool's result is on record."""
    stage.script.caller = ["My invoice is wrong."]
    stage.script.replies = [stage.call("pass_on", {"agent": "billing", "reason": "An invoice."}, text="One moment.")]

    async def act(scene: Any) -> None:
        with_another(scene)
        await scene.carrier.speak(0.6)
        outcome = await scene.outcome()
        assert outcome == Outcome(state=None, reason=None, next_plan=scene.handoff_reply.plan)

    scene = stage.play(stage.an_agent(tools=(TOOL,)), act)
    assert scene.given_to == [(BILLING, "An invoice.")]
    assert scene.transcript()[-1] == ("agent", "One moment.")
    assert [(fact.is_ok, fact.output) for fact in scene.facts.of(ToolReturned)] == [(True, {"handed_to": "billing"})]
    assert stage.script.tools[0] == ["Gives the caller to a colleague."]


@pytest.mark.proves("agent.tools.handoff_to_agent.agents.description")
def test_only_the_agents_named_can_get_the_call(stage: Any) -> None:
    """Another name is refused before anything is asked; the model learns what each is for, and why control refused."""
    stage.script.caller = ["Give me the boss."]
    stage.script.replies = [
        stage.call("pass_on", {"agent": "boss"}),
        stage.call("pass_on", {"agent": "sales"}),
        "I cannot.",
    ]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "I cannot.")])
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(tools=(TOOL,)), act)
    assert scene.given_to == [(SALES, "")]
    assert [fact.is_ok for fact in scene.facts.of(ToolReturned)] == [False, False]
    assert "there is no such agent" in scene.facts.of(ToolReturned)[1].output["error"]
    described = handoff_to_agent.parameters(TOOL)["properties"]["agent"]
    assert (described["enum"], described["description"]) == (["sales", "billing"], "sales; billing: Invoices.")


def test_who_speaks_into_the_last_words_keeps_the_agent(stage: Any) -> None:
    """The interruption comes before control was asked, and the conversation goes on."""
    stage.script.caller = ["My invoice.", "No, wait."]
    stage.script.replies = [
        stage.call("pass_on", {"agent": "billing"}, text="One moment please, I shall give you to billing."),
        "I am here.",
    ]

    async def act(scene: Any) -> None:
        with_another(scene)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        await scene.carrier.speak(0.8)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "I am here."))
        scene.carrier.hang_up()
        await scene.outcome()

    assert stage.play(stage.an_agent(tools=(TOOL,)), act).given_to == []


def test_a_person_gives_the_call_away(stage: Any) -> None:
    """The command is done when control has agreed, and the agent finishes its sentence; a refusal is passed on."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        refused = await scene.tell(HandOff, agent_id=SALES)
        assert refused.outcome == "refused"
        assert "there is no such agent" in refused.detail
        with_another(scene)
        assert await scene.tell(HandOff, agent_id=BILLING, reason="By hand.") == CommandReply(outcome="done")
        assert (await scene.outcome()).next_plan is not None

    scene = stage.play(stage.an_agent("One two three four five six seven."), act)
    assert scene.given_to == [(SALES, ""), (BILLING, "By hand.")]
    assert scene.transcript() == [("agent", "One two three four five six seven.")]


@pytest.mark.parametrize("first_message", ["Billing, good morning.", ""])
def test_the_other_agent_begins_with_the_whole_history(stage: Any, first_message: str) -> None:
    """It says its first words, or, without any, what its model has to say to all that was said before."""
    stage.script.caller = ["It is too high."]
    stage.script.replies = ["I see it." if first_message else "You ask about your invoice.", "I see it."]
    handed = (CallHandoff, {"from_epoch": 1, "from_agent_id": None, "to_agent_id": None, "to_version_id": None})
    known = past(agent_said("Hello."), caller_said("My invoice is wrong.", 1), handed)

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: len(scene.transcript()) == 1)
        await asyncio.sleep(1.0)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "I see it."))
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(first_message), act, past=known)
    assert scene.transcript()[0] == ("agent", first_message or "You ask about your invoice.")
    assert stage.script.contexts[0][:3] == [
        {"role": "system", "content": "You are on the phone."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "My invoice is wrong."},
    ]
