"""A call of a test: what the agent's tools answer is in the plan, and nobody's server is asked."""

from typing import Any

from turncall_proto.events import ToolReturned
from turncall_proto.mock import UNMOCKED, ToolMock

from .both import BOTH
from .users_server import a_webhook


@BOTH
def test_in_a_test_a_mock_answers_and_what_has_none_fails(stage: Any) -> None:
    """The first use fits the mock, the second none: the model is told so, and the agent's server hears of neither."""
    stage.script.caller = ["What is it like in Rome?", "And in Oslo?"]
    stage.script.replies = [
        stage.call("weather", {"city": "Rome"}),
        "Done.",
        stage.call("weather", {"city": "Oslo"}),
        "Sorry.",
    ]
    mocks = (ToolMock(tool="weather", arguments={"city": "Rome"}, answer={"degrees": 21}),)

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", "Done.") in scene.transcript())
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", "Sorry.") in scene.transcript())
        scene.carrier.hang_up()
        await scene.outcome()

    agent = stage.an_agent(tools=(a_webhook("http://127.0.0.1:9/nobody-listens"),))
    scene = stage.play(agent, act, plan={"mocks": mocks})
    assert [(fact.is_ok, fact.output) for fact in scene.facts.of(ToolReturned)] == [
        (True, {"degrees": 21}),
        (False, {"error": UNMOCKED}),
    ]
