"""A caller who speaks while the agent speaks."""

from typing import Any

import pytest

from turncall_proto.events import TranscriptFinal

from .both import BOTH

LONG = "One two three four five six seven eight. Nine ten eleven twelve thirteen fourteen."


@BOTH
def test_caller_silences_the_agent_at_once(stage: Any) -> None:
    """The queue at the carrier is cleared within the start window of the caller's voice, and nothing more is heard."""
    stage.script.caller = ["Stop."]
    stage.script.replies = ["All right."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        began_at = scene.carrier.now()
        await scene.carrier.speak(0.6)
        (cleared_at,) = scene.carrier.clears_at
        assert cleared_at - began_at <= 0.2 + 0.05
        assert not scene.carrier.is_agent_heard
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    stage.play(stage.an_agent(LONG), act)


@BOTH
def test_transcript_and_context_hold_what_was_heard(stage: Any) -> None:
    """Of an interrupted reply, the whole sentences that were played remain, and the words of the cut one."""
    stage.script.caller = ["Stop."]
    stage.script.replies = ["All right."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 2.8)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(LONG), act)
    cut, _, reply = scene.facts.of(TranscriptFinal)
    assert cut.is_interrupted
    assert not reply.is_interrupted
    assert LONG.startswith(cut.text)
    # 3 s of tone are some 60 characters at 50 ms: 40 of the first sentence, 20 of the second.
    assert cut.text == "One two three four five six seven eight. Nine ten eleven"
    assert abs((cut.end_ms - cut.start_ms) / 1000 - scene.carrier.heard_s() + reply_s(reply)) < 0.1
    assert {"role": "assistant", "content": cut.text} in stage.script.contexts[0]


def reply_s(reply: Any) -> float:
    """How long a reply lasted."""
    return float(reply.end_ms - reply.start_ms) / 1000


def test_voice_that_streams_is_cut_by_length(stage: Any) -> None:
    """A vendor that announces all its words before the audio is cut in proportion, over the whole utterance."""
    stage.script.caller = ["Stop."]
    stage.script.is_streamed = True

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.8)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) >= 2)
        scene.carrier.hang_up()
        await scene.outcome()

    stage.script.replies = ["Fine.", "Fine."]
    scene = stage.play(stage.an_agent(LONG), act)
    assert scene.transcript()[0] == ("agent", "One two three four five six seven eight.")


@BOTH
def test_thinking_agent_can_be_interrupted(stage: Any) -> None:
    """Speech before the first audio of a reply drops the reply; nobody heard it, so it was not said."""
    stage.script.caller = ["What is", "the time?"]
    stage.script.replies = ["Never heard.", "Noon."]
    stage.script.llm_s = 2.0

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: stage.script.contexts)
        stage.script.llm_s = 0.05
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript() == [("caller", "What is"), ("caller", "the time?"), ("agent", "Noon.")]
    assert scene.carrier.clears_at == []


@BOTH
@pytest.mark.proves("agent.turn_taking.barge_in")
def test_protected_agent_speaks_to_its_end(stage: Any) -> None:
    """With barge-in off the caller cannot silence the agent, and is heard again when it is done."""
    stage.script.caller = [*stage.to_deaf_ears("Not heard."), "Heard."]
    stage.script.replies = ["Yes."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript())
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(LONG, barge_in=False), act)
    assert scene.transcript() == [("agent", LONG), ("caller", "Heard."), ("agent", "Yes.")]
    assert scene.carrier.clears_at == []


@BOTH
def test_carrier_that_loses_marks_does_not_freeze_the_call(stage: Any) -> None:
    """Marks that never come back are taken for played after a while; the conversation goes on."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = ["Here I am."]

    async def act(scene: Any) -> None:
        scene.carrier.returns_marks = False
        await scene.carrier.until(scene.transcript)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent("Hello."), act)
    assert scene.transcript()[0] == ("agent", "Hello.")
    assert scene.transcript()[2] == ("agent", "Here I am.")
