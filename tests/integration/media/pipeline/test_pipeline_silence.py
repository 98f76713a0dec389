"""What an agent does about a caller who is silent, about the end of its time, and about words that are not for it."""

from typing import Any

import pytest
from msgspec.structs import replace

from turncall_media.pipelines.apologies import still_there
from turncall_media.pipelines.watches import asked_last
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import TranscriptFinal

from .both import BOTH

LONG = "One two three four five six seven eight. Nine ten eleven twelve thirteen fourteen."
PROMPTS = ("Are you there?", "Hello?")


async def hang_up(scene: Any) -> None:
    scene.carrier.hang_up()
    await scene.outcome()


@BOTH
@pytest.mark.proves("agent.turn_taking.idle_timeout_s", "agent.turn_taking.idle_prompts")
def test_silent_caller_is_asked_and_then_left(stage: Any) -> None:
    """Each silence, counted from when the agent's words were heard, brings the next question; the last one the end."""

    async def act(scene: Any) -> None:
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.COMPLETED, EndedReason.CUSTOMER_SILENT)

    scene = stage.play(stage.an_agent(LONG, idle_timeout_s=4, idle_prompts=PROMPTS), act)
    assert scene.transcript() == [("agent", LONG), ("agent", "Are you there?"), ("agent", "Hello?")]
    greeting, first, second = scene.facts.of(TranscriptFinal)
    assert 4000 <= first.start_ms - greeting.end_ms <= 4300
    assert 4000 <= second.start_ms - first.end_ms <= 4300
    ((reason, at_s),) = scene.hang_ups
    assert reason is EndedReason.CUSTOMER_SILENT
    assert 4000 <= round(at_s * 1000) - second.end_ms <= 4500


@BOTH
def test_caller_who_answers_is_asked_from_the_first_question_on(stage: Any) -> None:
    """Words of the caller make the count begin again; without prompts the agent asks once, in its language."""
    stage.script.caller = ["Yes."]
    stage.script.replies = ["Good."]
    asked = still_there("en-US")

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: ("agent", asked) in scene.transcript())
        await scene.carrier.speak(0.6)
        assert (await scene.outcome()).reason is EndedReason.CUSTOMER_SILENT

    scene = stage.play(stage.an_agent("Hello.", idle_timeout_s=3), act)
    told = [("agent", "Hello."), ("agent", asked), ("caller", "Yes."), ("agent", "Good."), ("agent", asked)]
    assert scene.transcript() == told
    assert {"role": "assistant", "content": asked} in stage.script.contexts[0]


@BOTH
def test_nobody_is_called_silent_while_the_model_thinks(stage: Any) -> None:
    """The silence of a slow model is not the caller's."""
    stage.script.caller = ["Well?"]
    stage.script.replies = ["Yes."]
    stage.script.llm_s = 6.0

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        await hang_up(scene)

    scene = stage.play(stage.an_agent(idle_timeout_s=2, idle_prompts=PROMPTS), act)
    assert scene.transcript() == [("caller", "Well?"), ("agent", "Yes.")]


@BOTH
def test_without_a_timeout_silence_is_borne(stage: Any) -> None:
    """An agent that does not ask stays on the line until its time is over."""

    async def act(scene: Any) -> None:
        assert (await scene.outcome()).reason is EndedReason.MAX_DURATION_REACHED

    scene = stage.play(stage.an_agent("Hello.", max_duration_s=60, idle_prompts=PROMPTS), act)
    assert scene.transcript() == [("agent", "Hello.")]


def test_next_worker_asks_the_next_question() -> None:
    """What another worker has asked since anybody spoke or acted counts; what was asked before does not."""
    caller = {"role": "user", "content": "Hello?"}
    first, second = ({"role": "assistant", "content": text} for text in PROMPTS)
    assert asked_last((first, second, caller, first), PROMPTS) == 1
    assert asked_last((caller, first, second), PROMPTS) == 2
    assert asked_last((first, {"role": "assistant", "tool_calls": []}), PROMPTS) == 0


@BOTH
@pytest.mark.proves("agent.max_duration_warning", "agent.max_duration_warning_s")
def test_caller_is_warned_before_the_time_is_over(stage: Any) -> None:
    """The warning is heard as long before the end as the agent says, and the model knows of it."""
    stage.script.caller = ["Oh."]
    stage.script.replies = ["Yes."]
    warning = "We have twenty seconds left."

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: ("agent", warning) in scene.transcript(), within_s=60)
        await scene.carrier.speak(0.6)
        assert (await scene.outcome()).reason is EndedReason.MAX_DURATION_REACHED

    agent = replace(
        stage.an_agent("Hello.", max_duration_s=60), max_duration_warning=warning, max_duration_warning_s=20
    )
    scene = stage.play(agent, act)
    warned = scene.facts.of(TranscriptFinal)[1]
    assert 40_000 <= warned.start_ms <= 41_000
    assert {"role": "assistant", "content": warning} in stage.script.contexts[0]


@BOTH
@pytest.mark.proves("agent.turn_taking.protect_first_message")
def test_protected_first_message_is_heard_whole_and_later_ones_are_not(stage: Any) -> None:
    """Who speaks into the first message, even before its first sound, goes unheard; into a reply, not."""
    stage.script.caller = [*stage.to_deaf_ears("Hello?", "Never mind."), "Tell me.", "Stop."]
    stage.script.replies = [LONG, "All right."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 2.0)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 1)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 5.5)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "All right."))
        await hang_up(scene)

    scene = stage.play(stage.an_agent(LONG, protect_first_message=True), act)
    greeting, asked, cut, stop, _ = scene.facts.of(TranscriptFinal)
    assert (greeting.text, greeting.is_interrupted) == (LONG, False)
    assert (asked.text, stop.text) == ("Tell me.", "Stop.")
    assert cut.is_interrupted


@pytest.mark.proves("agent.turn_taking.min_words")
def test_agent_is_interrupted_by_enough_words_only(stage: Any) -> None:
    """A murmur into the agent's words changes nothing; a sentence silences it; into its silence one word is enough."""
    stage.script.caller = ["Uh-huh.", "No, wait, please.", "Yes."]
    stage.script.replies = ["What is it?", "Good."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        await scene.carrier.speak(0.4)
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 2.0)
        assert scene.carrier.clears_at == []
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "What is it?")])
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "Good."))
        await hang_up(scene)

    scene = stage.play(stage.an_agent(LONG, min_words=3), act)
    assert scene.facts.of(TranscriptFinal)[0].is_interrupted
    assert [text for speaker, text in scene.transcript() if speaker == "caller"] == ["No, wait, please.", "Yes."]
    assert len(scene.carrier.clears_at) == 1
