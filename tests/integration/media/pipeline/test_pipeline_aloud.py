"""What the voice is given to read, and what is remembered of it."""

from typing import Any

import pytest
from msgspec.structs import replace

WRITTEN = "**Great** 🎉 news. The [menu](https://example.com/m) is at https://www.example.com/menu?id=3."
READ = "Great news. The menu is at example.com."


async def one_turn(scene: Any) -> None:
    await scene.carrier.speak(0.6)
    await scene.carrier.until(lambda: scene.transcript()[-1:] and scene.transcript()[-1][0] == "agent")
    await scene.carrier.speak(0.6)
    await scene.carrier.until(lambda: len(scene.transcript()) == 4)
    scene.carrier.hang_up()
    await scene.outcome()


@pytest.mark.parametrize("is_streamed", [False, True])
def test_marks_pictures_and_addresses_are_not_read_aloud(stage: Any, is_streamed: bool) -> None:
    """The voice gets words only; transcript and context hold what was heard, not what was written."""
    stage.script.caller = ["Hello?", "And?"]
    stage.script.replies = [WRITTEN, "😀 Bye."]
    stage.script.is_streamed = is_streamed
    scene = stage.play(stage.an_agent(), one_turn)
    assert " ".join(stage.script.spoken) == f"{READ} Bye."
    assert [text for speaker, text in scene.transcript() if speaker == "agent"] == [READ, "Bye."]
    assert {"role": "assistant", "content": READ} in stage.script.contexts[-1]


@pytest.mark.proves("agent.pronunciations")
def test_words_are_given_to_the_voice_as_they_sound(stage: Any) -> None:
    """The voice gets the spoken form, also in the first message; the transcript keeps the word."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = ["You reached Saoirse, nobody else."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(scene.transcript)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    agent = replace(stage.an_agent("This is Saoirse."), pronunciations={"saoirse": "Seer-sha"})
    scene = stage.play(agent, act)
    assert stage.script.spoken == ["This is Seer-sha.", "You reached Seer-sha, nobody else."]
    assert scene.transcript()[0] == ("agent", "This is Saoirse.")
    assert scene.transcript()[2] == ("agent", "You reached Saoirse, nobody else.")


@pytest.mark.proves("agent.keyterms")
def test_keyterms_reach_the_speech_to_text(stage: Any) -> None:
    """What callers are likely to say is told to the vendor that listens, with the agent's language."""

    async def act(scene: Any) -> None:
        scene.carrier.hang_up()
        await scene.outcome()

    stage.play(replace(stage.an_agent(), keyterms=("Saoirse", "Oslo")), act)
    assert stage.built_with["stt"].keyterms == ("Saoirse", "Oslo")
