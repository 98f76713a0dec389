"""A call that is recorded only if the caller says so, and what is left out of the recording."""

import asyncio
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from turncall_blobs import MemoryStore
from turncall_media.pipelines.apologies import may_we_record
from turncall_proto.agent import PauseRecordingTool, RecordingConsent
from turncall_proto.command import CommandReply, PauseRecording, ResumeRecording
from turncall_proto.events import RecordingChanged, RecordingReady, TranscriptFinal

from .both import BOTH
from .test_pipeline_resumed import agent_said, caller_said, past

GREETING = "Good day."
QUESTION = "May we record? Press one."
DONE = CommandReply(outcome="done")


def an_agent(stage: Any, **fields: Any) -> Any:
    agent = stage.an_agent(GREETING, silence_timeout_ms=100, vad_start_ms=60)
    consent = RecordingConsent(line=QUESTION, answer_within_s=3)
    return replace(agent, **{"recording": "on_consent", "recording_consent": consent} | fields)


def changes(scene: Any) -> list[tuple[str, str]]:
    return [(fact.change, fact.by) for fact in scene.facts.of(RecordingChanged)]


@pytest.mark.proves(
    "agent.recording",
    "agent.recording_consent.line",
    "agent.tools.pause_recording.name",
    "agent.tools.pause_recording.description",
)
async def test_only_what_is_said_after_a_yes_is_kept(stage: Any, tmp_path: Path) -> None:
    """The question comes first and its answer is not for the model; a pause by a person or by the model is silence, and
    all the rest stands where it was said."""
    store = MemoryStore()
    tool = PauseRecordingTool(name="hush", description="Before a card number.")
    agent = an_agent(stage, tools=(tool,))
    stage.script.caller = ["Yes, sure.", "Card?", "Thanks."]
    stage.script.replies = [
        stage.call("hush", {"paused": True}),
        "Go on.",
        stage.call("hush", {"paused": False}),
        "Well.",
    ]
    scene = stage.scene(agent, blobs=store, recordings_spool=tmp_path)
    await scene.begin()
    until = scene.carrier.until
    await until(lambda: ("agent", QUESTION) in scene.transcript())
    await scene.carrier.speak(0.2)
    await until(lambda: ("agent", GREETING) in scene.transcript())
    assert stage.script.contexts == []
    await scene.carrier.speak(0.2)
    await until(lambda: ("agent", "Go on.") in scene.transcript())
    await scene.carrier.speak(0.2)
    await until(lambda: ("agent", "Well.") in scene.transcript())
    assert await scene.tell(PauseRecording) == DONE
    assert await scene.tell(PauseRecording) == DONE
    await scene.carrier.speak(0.2)
    assert await scene.tell(ResumeRecording) == DONE
    scene.carrier.hang_up()
    await scene.running

    assert changes(scene) == [
        ("consented", "words"),
        ("paused", "model"),
        ("resumed", "model"),
        ("paused", "command"),
        ("resumed", "command"),
    ]
    assert stage.script.contexts[0][1:4] == [
        {"role": "assistant", "content": QUESTION},
        {"role": "user", "content": "Yes, sure."},
        {"role": "assistant", "content": GREETING},
    ]
    (ready,) = scene.facts.of(RecordingReady)
    with wave.open(io.BytesIO(await store.read(ready.parts[0].key))) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    caller, agent_heard = np.flatnonzero(both[:, 0]) / 8000, np.flatnonzero(both[:, 1]) / 8000
    heard = {text: (start, end) for text, start, end in spoken(scene)}
    assert not [at for at in agent_heard if at < heard[QUESTION][1] - 0.05]
    assert agent_heard[0] == pytest.approx(heard[GREETING][0], abs=0.1)
    assert not [at for at in agent_heard if heard["Go on."][0] + 0.05 < at < heard["Go on."][1] - 0.05]
    assert [at for at in agent_heard if heard["Well."][0] < at < heard["Well."][1]]
    assert len(caller) / 8000 == pytest.approx(0.2, abs=0.15)  # of five utterances: the one about the card


def spoken(scene: Any) -> list[tuple[str, float, float]]:
    """Each line of the agent with the seconds of its beginning and end."""
    return [
        (fact.text, fact.start_ms / 1000, fact.end_ms / 1000)
        for fact in scene.facts.of(TranscriptFinal)
        if fact.speaker == "agent"
    ]


@BOTH
@pytest.mark.parametrize(
    ("answer", "changed", "greeted"),
    [
        ("No.", ("declined", "words"), True),
        ("When do you open?", ("declined", "words"), False),
        ("2", ("declined", "keys"), True),
        ("", ("declined", "silence"), True),
    ],
)
@pytest.mark.proves("agent.recording_consent.answer_within_s")
def test_anything_but_a_yes_is_none(stage: Any, answer: str, changed: tuple[str, str], greeted: bool) -> None:
    """Nothing is recorded, and the call goes on: whoever asked something is answered, everybody else is greeted."""
    stage.script.caller = [answer]
    stage.script.replies = ["At nine."]
    last = GREETING if greeted else "At nine."

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: ("agent", QUESTION) in scene.transcript())
        asked_s = scene.carrier.now()
        if answer.isdigit():
            scene.carrier.press(answer)
        elif answer:
            await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", last))
        if not answer:
            assert 3.0 <= scene.carrier.now() - asked_s <= 4.5
        assert (await scene.tell(PauseRecording)).outcome == "refused"
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(an_agent(stage), act)
    assert changes(scene) == [changed]
    assert scene.facts.of(RecordingReady) == []
    assert ("agent", GREETING) in scene.transcript() or not greeted


@BOTH
def test_the_question_has_words_of_its_own_and_is_heard_before_a_protected_greeting(stage: Any) -> None:
    """Without a line it is asked in the agent's language; an answer is heard though the greeting is protected."""
    agent = an_agent(stage, recording_consent=RecordingConsent(), language="de-DE")
    agent = replace(agent, turn_taking=replace(agent.turn_taking, protect_first_message=True))
    stage.script.caller = ["Nein."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: ("agent", may_we_record("de", "1")) in scene.transcript())
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", GREETING) in scene.transcript())
        scene.carrier.hang_up()
        await scene.outcome()

    assert changes(stage.play(agent, act)) == [("declined", "words")]


@pytest.mark.parametrize(
    ("known", "files", "is_kept"),
    [(["consented"], 1, True), (["declined"], 0, False), (["consented", "paused"], 1, False)],
)
async def test_the_next_worker_keeps_to_what_was_said(
    stage: Any, tmp_path: Path, known: list[str], files: int, is_kept: bool
) -> None:
    """Nobody is asked twice, and what was paused stays so."""
    store = MemoryStore()
    scene = stage.scene(an_agent(stage), blobs=store, recordings_spool=tmp_path)
    said = [agent_said(QUESTION), caller_said("Well.", 1), agent_said(GREETING, 1)]
    scene.past = past(*said, *((RecordingChanged, {"change": change, "by": "words"}) for change in known))
    await scene.begin()
    await asyncio.sleep(0.3)
    await scene.carrier.speak(0.3)
    await asyncio.sleep(0.2)
    scene.carrier.hang_up()
    await scene.running
    assert ("agent", QUESTION) not in scene.transcript()
    kept = [key async for key in store.keys("recordings/")]
    assert len(kept) == files
    for key in kept:
        with wave.open(io.BytesIO(await store.read(key))) as file:
            assert np.frombuffer(file.readframes(file.getnframes()), "<i2").any() == is_kept
