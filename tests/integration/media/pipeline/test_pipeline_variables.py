"""What a call brings along reaches the agent's words, and what it lacks is not spoken."""

from typing import Any

import pytest
from msgspec.structs import replace

from turncall_proto.agent import EndCallTool, Guardrails
from turncall_proto.events import VariablesMissing

from .both import BOTH


@BOTH
@pytest.mark.proves(
    "agent.variables", "agent.timezone", "agent.tools.end_call.description", "agent.guardrails.prohibited_topics"
)
def test_variables_reach_the_caller_the_model_and_its_tools(stage: Any) -> None:
    """The default fills the greeting, the built-in time the prompt, the tool's description is filled as well."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = ["Yes."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: len(scene.transcript()) == 1)
        await scene.carrier.speak(1.0)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    agent = stage.an_agent("Hello {{name}}.", tools=(EndCallTool(description="Says goodbye to {{name}}."),))
    agent = replace(
        agent,
        prompt="It is {{call.time}} for {{nobody}}.",
        variables={"name": "Ada"},
        timezone="Asia/Tokyo",
        guardrails=Guardrails(prohibited_topics=("politics",)),
    )
    scene = stage.play(agent, act)
    assert scene.transcript()[0] == ("agent", "Hello Ada.")
    told, limits = stage.script.contexts[0][0]["content"].split("\n\n")
    assert (stage.script.contexts[0][0]["role"], told) == ("system", "It is 21:00 for .")
    assert "- politics" in limits
    assert stage.script.tools[0] == ["Says goodbye to Ada."]
    (missing,) = scene.facts.of(VariablesMissing)
    assert missing.names == ("nobody",)
