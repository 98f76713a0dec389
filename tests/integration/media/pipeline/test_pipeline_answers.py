"""A model that answers with nothing: empty words, or a call that cannot be made. The caller is not left in silence."""

from typing import Any

import pytest
from msgspec.structs import replace

from turncall_media.answers import NoAnswer
from turncall_media.pipelines.apologies import apology, please_repeat
from turncall_proto.agent import Fallbacks, VendorRef
from turncall_proto.call import EndedReason
from turncall_proto.events import VendorFailed

NOTHING: list[Any] = ["", NoAnswer("the model called a function with arguments that are no object")]


def failures(scene: Any) -> list[tuple[str, str, bool]]:
    """Of vendors: stage, who took over, and whether the call ended of it."""
    return [(fact.kind, fact.taken_over_by, fact.is_fatal) for fact in scene.facts.of(VendorFailed)]


@pytest.mark.parametrize("nothing", NOTHING)
def test_an_empty_answer_is_asked_for_again(stage: Any, nothing: Any) -> None:
    """The caller says it once and hears the second answer; that there was another one before is on record."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = [nothing, "Here I am."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        said_s = scene.carrier.now()
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        assert scene.carrier.now() - said_s < 1.5
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript() == [("caller", "Hello?"), ("agent", "Here I am.")]
    assert failures(scene) == [("llm", "", False)]
    assert stage.script.contexts[0] == stage.script.contexts[1]


@pytest.mark.parametrize("nothing", NOTHING)
def test_a_model_with_nothing_to_say_is_excused_once(stage: Any, nothing: Any) -> None:
    """After a second empty answer the caller is asked to say it again, and the call goes on; after a third one it ends
    as it does with any vendor that is lost."""
    stage.script.caller = ["Hello?", "Is anybody there?"]
    stage.script.replies = [nothing, nothing, nothing]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        assert scene.transcript()[1] == ("agent", please_repeat("en"))
        await scene.carrier.speak(0.6)
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.VENDOR_ERROR

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript()[2:] == [("caller", "Is anybody there?"), ("agent", apology("en"))]
    assert failures(scene) == [("llm", "", False), ("llm", "", False), ("llm", "", True)]


def test_another_model_answers_for_one_that_has_nothing_to_say(stage: Any) -> None:
    """Within the turn, and for the rest of the call."""
    stage.understudies["second"] = type(stage.script)()
    agent = stage.an_agent()
    fallbacks = Fallbacks(llm=(VendorRef(vendor="second"),))
    agent = replace(agent, pipeline=replace(agent.pipeline, fallbacks=fallbacks))
    stage.script.caller = ["Hello?"]
    stage.script.replies = [""]
    stage.understudies["second"].replies = ["Here I am."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert scene.transcript() == [("caller", "Hello?"), ("agent", "Here I am.")]
    assert failures(scene) == [("llm", "second", False)]


def test_an_answer_that_is_interrupted_is_not_empty(stage: Any) -> None:
    """A caller who speaks before the first word came is answered; nothing is on record against the model."""
    stage.script.caller = ["Hello?", "And another thing."]
    stage.script.replies = ["Too late.", "Here I am."]
    stage.script.llm_s = 2.0

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: stage.script.contexts)
        stage.script.llm_s = 0.05
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    assert failures(scene) == []
    assert "Too late." not in str(scene.transcript())
