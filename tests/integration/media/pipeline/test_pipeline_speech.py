"""What is special about a conversation with one model that hears and speaks by itself."""

from typing import Any

import msgspec
import pytest

from turncall_media.pipelines.apologies import apology
from turncall_proto.agent import VendorRef
from turncall_proto.call import CallState, EndedReason
from turncall_proto.command import Say
from turncall_proto.events import (
    CallStarted,
    TranscriptFinal,
    TurnMeasured,
    UsageReported,
    UtteranceBegun,
    VendorFailed,
)

LONG = "One two three four five six seven eight. Nine ten eleven twelve thirteen fourteen."
REFUSED = VendorRef(vendor="scripted", options={"colour": "red"})

pytestmark = pytest.mark.parametrize("stage", ["speech"], indirect=True)


def with_fallbacks(stage: Any, *names: str, **fields: Any) -> Any:
    """An agent whose model falls back on models of these names, each with a script of its own."""
    agent = stage.an_agent(**fields)
    for name in names:
        stage.understudies[name] = type(stage.script)()
    refs = tuple(VendorRef(vendor=name) for name in names)
    return changed(agent, fallbacks=refs)


def changed(agent: Any, **fields: Any) -> Any:
    """The agent with another pipeline."""
    return msgspec.structs.replace(agent, pipeline=msgspec.structs.replace(agent.pipeline, **fields))


def failures(scene: Any) -> list[tuple[str, str, str, bool]]:
    return [(fact.kind, fact.vendor, fact.taken_over_by, fact.is_fatal) for fact in scene.facts.of(VendorFailed)]


def test_words_that_come_late_stand_before_their_answer(stage: Any) -> None:
    """The model answers before the caller's words are written down; in the conversation they come first, with the times
    and the number of their turn; the reply is measured from the end of speech."""
    stage.script.words_s = 0.8
    stage.script.caller = ["Hello?", "And then?"]
    stage.script.replies = ["Here I am, and I have a lot to say to you.", "Nothing."]

    async def act(scene: Any) -> None:
        for count in (2, 4):
            await scene.carrier.speak(0.6)
            await scene.carrier.until(lambda count=count: len(scene.transcript()) == count)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    facts = scene.facts.of(TranscriptFinal)
    callers = [fact for fact in facts if fact.speaker == "caller"]
    assert [(fact.text, fact.turn) for fact in callers] == [("Hello?", 1), ("And then?", 2)]
    first, second = callers
    assert first.end_ms - first.start_ms == pytest.approx(600, abs=100)
    assert second.start_ms > first.end_ms + 1000
    said = [fact for fact in scene.facts.all if fact[0] in (UtteranceBegun, TranscriptFinal)]
    kinds = [(kind, facts["speaker"]) for kind, facts in said[:3]]
    assert kinds == [(UtteranceBegun, "caller"), (UtteranceBegun, "agent"), (TranscriptFinal, "caller")]
    assert [message["role"] for message in stage.script.contexts[1]] == ["system", "user", "assistant", "user"]
    assert stage.script.contexts[1][1]["content"] == "Hello?"
    for measured in scene.facts.of(TurnMeasured):
        assert measured.reply_ms == measured.endpointing_ms + measured.llm_first_token_ms + measured.tts_first_audio_ms
        assert measured.endpointing_ms == pytest.approx(600, abs=120)
        assert measured.stt_final_ms is None


def test_a_turn_without_words_is_answered_by_nothing(stage: Any) -> None:
    """A cough makes no transcript; the call goes on, and so do the numbers of turns."""
    stage.script.caller = ["", "Hello?"]
    stage.script.replies = ["Here I am."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(stage.script.heard_ms) == 1)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript() == [("caller", "Hello?"), ("agent", "Here I am.")]
    assert [fact.turn for fact in scene.facts.of(TranscriptFinal)] == [2, 2]


def test_the_model_is_told_how_much_was_heard(stage: Any) -> None:
    """At an interruption it learns where in its reply the caller stopped listening, to the carrier's marks."""
    stage.script.caller = ["Stop."]
    stage.script.replies = ["All right."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 2.0)
        await scene.carrier.speak(0.6)
        heard_ms.append(scene.carrier.heard_s() * 1000)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    heard_ms: list[float] = []
    stage.play(stage.an_agent(LONG), act)
    assert stage.script.heard_until == [pytest.approx(heard_ms[0], abs=60)]


def test_a_line_is_said_as_it_would_be_read_aloud(stage: Any) -> None:
    """The model is given no Markdown, no picture and no address to say; a line of nothing else is not said."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.transcript() and not scene.carrier.is_agent_heard)
        assert (await scene.tell(Say, text="🎉")).outcome == "done"
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    stage.script.caller, stage.script.replies = ["Thanks."], ["Bye."]
    scene = stage.play(stage.an_agent("**Hello**, see https://www.example.com/menu?id=3. 🎉"), act)
    assert stage.script.spoken == ["Hello, see example.com.", "Bye."]
    assert scene.transcript()[0] == ("agent", "Hello, see example.com.")


def test_usage_is_the_models(stage: Any) -> None:
    """One vendor, one stage, and how long it spoke."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent("Hello there."), act)
    (usage,) = scene.facts.of(UsageReported)
    assert (usage.kind, usage.vendor, usage.model) == ("speech", "scripted", "duplex-1")
    assert usage.audio_ms == 600


@pytest.mark.proves("agent.pipeline.speech.fallbacks.vendor")
def test_another_model_hears_what_the_first_one_lost(stage: Any) -> None:
    """The caller says it once: the next model gets the sound of the turn, and keeps the call."""
    agent = with_fallbacks(stage, "second")
    stage.script.caller = [ConnectionError("reset")]
    understudy = stage.understudies["second"]
    understudy.caller, understudy.replies = ["Hello?", "And now?"], ["Here I am.", "Still here."]

    async def act(scene: Any) -> None:
        for count in (2, 4):
            await scene.carrier.speak(0.6)
            await scene.carrier.until(lambda count=count: len(scene.transcript()) == count)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert [text for _, text in scene.transcript()] == ["Hello?", "Here I am.", "And now?", "Still here."]
    assert failures(scene) == [("speech", "scripted", "second", False)]
    assert understudy.heard_ms[0] == pytest.approx(stage.script.heard_ms[0], abs=60)
    assert understudy.heard_ms[0] > 600


def test_a_model_that_keeps_silent_is_replaced(stage: Any) -> None:
    """Without a sign of a reply in four seconds; the greeting is said by the next one."""
    agent = with_fallbacks(stage, "second", first_message="Hello.")
    stage.script.connect_s = 3600.0
    understudy = stage.understudies["second"]

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        assert scene.carrier.now() < 6
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert scene.transcript() == [("agent", "Hello.")]
    assert understudy.spoken == ["Hello."]
    assert failures(scene) == [("speech", "scripted", "second", False)]


@pytest.mark.proves("agent.pipeline.speech.apology_voice.vendor")
def test_with_no_model_left_another_voice_apologises(stage: Any) -> None:
    """The voice that the agent names says why nobody answers, to its end; then the call ends as the vendor's fault."""
    agent = changed(with_fallbacks(stage, "second"), apology_voice=VendorRef(vendor="exit"))
    stage.understudies["exit"] = type(stage.script)()
    stage.script.caller = [ConnectionError("reset")]
    stage.understudies["second"].caller = [ConnectionError("reset")]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.FAILED, EndedReason.VENDOR_ERROR)

    scene = stage.play(agent, act)
    assert scene.transcript() == [("agent", apology("en"))]
    assert " ".join(stage.understudies["exit"].spoken) == apology("en")
    assert failures(scene)[-1][-1]


def test_a_model_that_cannot_be_built_is_apologised_for(stage: Any) -> None:
    """The failure is stated with its stage and vendor, the caller hears why nobody answers, and the call ends."""

    async def act(scene: Any) -> None:
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.FAILED, EndedReason.VENDOR_ERROR)

    scene = stage.play(changed(stage.an_agent("Welcome."), model=REFUSED), act)
    (failed,) = scene.facts.of(VendorFailed)
    assert (failed.kind, failed.vendor, failed.is_fatal) == ("speech", "scripted", True)
    assert scene.transcript() == [("agent", apology("en"))]
    assert scene.facts.of(CallStarted) == []


def test_without_a_voice_to_apologise_the_call_ends_in_silence(stage: Any) -> None:
    """It does end."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = [ConnectionError("reset"), ConnectionError("reset")]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        assert (await scene.outcome()).reason is EndedReason.VENDOR_ERROR

    scene = stage.play(changed(stage.an_agent(), apology_voice=REFUSED), act)
    assert scene.carrier.heard_s() == 0
