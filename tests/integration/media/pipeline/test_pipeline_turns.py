"""What is said on a call, and what is heard of it."""

from typing import Any

import pytest

from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import CallStarted, TranscriptFinal, TurnMeasured, UsageReported
from turncall_proto.live import TranscriptPartial

from .both import BOTH


@BOTH
@pytest.mark.proves("agent.first_message")
def test_greeting_is_spoken_at_once_and_whole(stage: Any) -> None:
    """The first message reaches the caller within 200 ms, is heard to its end and stands in the transcript."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard, within_s=0.2)
        await scene.carrier.until(scene.transcript)
        assert scene.carrier.heard_s() == 0.6
        scene.carrier.hang_up()
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)

    scene = stage.play(stage.an_agent("Good morning."), act)
    assert scene.transcript() == [("agent", "Good morning.")]
    (greeting,) = scene.facts.of(TranscriptFinal)
    assert (greeting.turn, greeting.is_interrupted) == (0, False)
    assert greeting.end_ms - greeting.start_ms == 600
    assert len(scene.facts.of(CallStarted)) == 1
    assert scene.hang_ups == []


@BOTH
@pytest.mark.proves("agent.prompt")
def test_turn_is_answered(stage: Any) -> None:
    """The caller speaks, falls silent, and gets the model's reply; both are told with their turn and their times."""
    stage.script.caller = ["What time is it?"]
    stage.script.replies = ["It is noon. Anything else?"]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: len(scene.transcript()) == 1)
        await scene.carrier.speak(1.0)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent("Hello."), act)
    assert scene.transcript() == [
        ("agent", "Hello."),
        ("caller", "What time is it?"),
        ("agent", "It is noon. Anything else?"),
    ]
    _, said, reply = scene.facts.of(TranscriptFinal)
    assert said.turn == reply.turn == 1
    assert 950 <= said.end_ms - said.start_ms <= 1050
    assert reply.start_ms >= said.end_ms + 600
    assert stage.script.contexts[0] == [
        {"role": "system", "content": "You are on the phone."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "What time is it?"},
    ]
    assert scene.facts.whispers[0] == TranscriptPartial(
        call_id=scene.facts.whispers[0].call_id, epoch=1, turn=1, speaker="caller", text="What "
    )


def test_reply_is_measured_from_the_end_of_speech(stage: Any) -> None:
    """The parts of a turn add up to what the caller waited: silence, model, voice."""
    stage.script.caller = ["Hello?"]
    stage.script.llm_s = 0.25

    async def act(scene: Any) -> None:
        await scene.carrier.speak(1.0)
        await scene.carrier.until(lambda: scene.facts.of(TurnMeasured))
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(silence_timeout_ms=500), act)
    (turn,) = scene.facts.of(TurnMeasured)
    assert turn.turn == 1
    assert 495 <= turn.endpointing_ms <= 505
    assert 250 <= turn.llm_first_token_ms <= 260
    assert 0 <= turn.tts_first_audio_ms <= 10
    assert abs(turn.reply_ms - turn.endpointing_ms - turn.llm_first_token_ms - turn.tts_first_audio_ms) <= 2
    assert 200 <= turn.stt_final_ms <= 240


@BOTH
@pytest.mark.proves("agent.turn_taking.silence_timeout_ms")
def test_silence_timeout_decides_when_the_caller_is_done(stage: Any) -> None:
    """A longer silence is waited for when the agent is told so."""
    waits = []
    for silence_ms in (200, 1500):
        stage.script.caller = ["Yes."]

        async def act(scene: Any) -> None:
            await scene.carrier.speak(1.0)
            await scene.carrier.until(lambda: scene.facts.of(TurnMeasured))
            scene.carrier.hang_up()
            await scene.outcome()

        scene = stage.play(stage.an_agent(silence_timeout_ms=silence_ms), act)
        waits.append(scene.facts.of(TurnMeasured)[0].endpointing_ms)
    assert 180 <= waits[0] <= 240
    assert 1450 <= waits[1] <= 1550


def test_usage_is_told_once_for_each_vendor(stage: Any) -> None:
    """When the call is over, each stage says what it did."""
    stage.script.caller = ["Hello?"]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(1.0)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    usage = {fact.kind: fact for fact in scene.facts.of(UsageReported)}
    assert [usage[kind].model for kind in ("stt", "llm", "tts")] == ["ear-1", "mind-1", "voice-1"]
    assert abs(usage["stt"].audio_ms - len(scene.carrier.heard) * 20) <= 100
    assert usage["tts"].characters == len("I have nothing to say.")
