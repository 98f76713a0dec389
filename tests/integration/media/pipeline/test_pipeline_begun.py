"""Who has begun to speak, told while it happens: what another worker needs if this one is lost."""

from typing import Any

from turncall_proto.events import TranscriptFinal, UtteranceBegun

from .both import BOTH

GREETING = "One two three four five six seven eight. Nine ten eleven twelve."


@BOTH
def test_each_sentence_begins_when_it_is_heard(stage: Any) -> None:
    """One fact for each sentence of the agent, when it began, with the rest of the reply as it is known."""
    stage.script.caller = ["Hello."]
    stage.script.replies = ["First of all. Second of all."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(GREETING), act)
    begun = scene.facts.of(UtteranceBegun)
    assert [(fact.speaker, fact.text, getattr(fact, "following", ""), fact.turn) for fact in begun] == [
        ("agent", "One two three four five six seven eight.", "Nine ten eleven twelve.", 0),
        ("agent", "Nine ten eleven twelve.", "", 0),
        ("caller", "", "", 1),
        ("agent", "First of all.", "Second of all.", 1),
        ("agent", "Second of all.", "", 1),
    ]
    greeting, words, reply = scene.facts.of(TranscriptFinal)
    starts = [fact.start_ms for fact in begun]
    assert starts == sorted(starts)
    assert abs(starts[1] - greeting.start_ms - 41 * 50) < 200  # behind 41 characters of 50 ms
    assert abs(starts[2] - words.start_ms) <= 50
    assert 0 <= starts[3] - reply.start_ms < 200


@BOTH
def test_sentence_that_was_never_played_has_not_begun(stage: Any) -> None:
    """The caller cuts the first sentence: the second one is not told of, and the caller's beginning is."""
    stage.script.caller = ["Stop."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        await scene.carrier.speak(0.6)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(GREETING), act)
    assert [(fact.speaker, fact.turn) for fact in scene.facts.of(UtteranceBegun)][:2] == [("agent", 0), ("caller", 1)]
    assert "Nine ten eleven twelve." not in [fact.text for fact in scene.facts.of(UtteranceBegun)]


@BOTH
def test_voice_that_streams_begins_its_sentences_in_time(stage: Any) -> None:
    """A vendor that announces all its words before the audio: the sentences are spread over it by their length."""
    stage.script.is_streamed = True

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(GREETING), act)
    first, second = scene.facts.of(UtteranceBegun)
    assert (first.text + " " + second.text) == GREETING
    assert 1500 < second.start_ms - first.start_ms < 2600
