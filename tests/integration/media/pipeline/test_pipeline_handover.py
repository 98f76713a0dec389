"""A call that is given to another worker, in the next moment in which nobody notices."""

import asyncio
from typing import Any

import pytest

from turncall_media.pipelines.quiet import QUIET_S
from turncall_proto.agent import EndCallTool
from turncall_proto.events import TranscriptFinal

from .both import BOTH

GREETING = "One two three four five six seven eight."


@BOTH
def test_handover_waits_for_the_end_of_the_sentence(stage: Any) -> None:
    """The agent finishes, 300 ms pass, and the conversation ends without an end of the call."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        scene.conversation.hand_over(at_once=False)
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (None, None)
        said = scene.facts.of(TranscriptFinal)[-1]
        assert (said.text, said.is_interrupted) == (GREETING, False)
        assert scene.carrier.now() - scene.opened_at_s - said.end_ms / 1000 == pytest.approx(QUIET_S, abs=0.25)

    assert stage.play(stage.an_agent(GREETING), act).hang_ups == []


@BOTH
def test_handover_waits_for_the_caller_and_the_reply(stage: Any) -> None:
    """Neither the caller's words nor the answer to them are cut."""
    stage.script.caller = ["What time is it?"]
    stage.script.replies = ["It is noon."]
    stage.script.llm_s = 1.5

    async def act(scene: Any) -> None:
        speaking = asyncio.create_task(scene.carrier.speak(1.0))
        await asyncio.sleep(0.5)
        scene.conversation.hand_over(at_once=False)
        await scene.outcome()
        await speaking

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript() == [("caller", "What time is it?"), ("agent", "It is noon.")]
    assert not any(fact.is_interrupted for fact in scene.facts.of(TranscriptFinal))


@BOTH
def test_handover_lets_a_goodbye_end_the_call(stage: Any) -> None:
    """A call that ends by itself meanwhile is over, and goes nowhere."""
    stage.script.caller = ["Bye."]
    stage.script.replies = [stage.call("end_call", {}, text="Goodbye.")]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.5)
        scene.conversation.hand_over(at_once=False)
        outcome = await scene.outcome()
        assert outcome.reason == "assistant_ended_call"

    stage.play(stage.an_agent(tools=(EndCallTool(),)), act)


@BOTH
def test_handover_at_once_cuts_the_sentence(stage: Any) -> None:
    """What was heard is told, for the next worker to go on from."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        scene.conversation.hand_over(at_once=True)
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (None, None)

    scene = stage.play(stage.an_agent(GREETING), act)
    (said,) = scene.facts.of(TranscriptFinal)
    assert said.is_interrupted
    assert GREETING.startswith(said.text)


@BOTH
def test_silent_call_is_handed_over_at_once(stage: Any) -> None:
    """Nobody has to speak first."""

    async def act(scene: Any) -> None:
        await asyncio.sleep(1.0)
        began_s = scene.carrier.now()
        scene.conversation.hand_over(at_once=False)
        await scene.outcome()
        assert scene.carrier.now() - began_s < QUIET_S + 0.3

    stage.play(stage.an_agent(), act)


@BOTH
def test_handover_waits_for_audio_that_is_late(stage: Any) -> None:
    """Who speaks while the worker cannot listen is listened to, and answered, before the call changes hands."""
    stage.script.caller = ["What time is it?"]
    stage.script.replies = ["It is noon."]

    async def act(scene: Any) -> None:
        await asyncio.sleep(1.0)
        scene.carrier.arrives.clear()
        speaking = asyncio.create_task(scene.carrier.speak(1.0))
        await asyncio.sleep(0.5)
        scene.conversation.hand_over(at_once=False)
        await asyncio.sleep(0.4)
        scene.carrier.arrives.set()
        await scene.outcome()
        await speaking

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript() == [("caller", "What time is it?"), ("agent", "It is noon.")]
