"""A room behind the agent: heard always, and noticed by nothing but the caller's ear and the recording."""

import asyncio
import io
import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from turncall_blobs import MemoryStore
from turncall_media.audio.mulaw import decode
from turncall_proto.agent import Background
from turncall_proto.events import RecordingReady, TranscriptFinal
from turncall_testkit.audio import level_dbfs

from .both import BOTH

LONG = "One two three four five six seven eight. Nine ten eleven twelve thirteen fourteen."


def a_room(stage: Any, words: str, volume: float = 0.1, **turn_taking: Any) -> Any:
    """An agent in a cafe."""
    return msgspec.structs.replace(
        stage.an_agent(words, **turn_taking), background=Background(sound="cafe", volume=volume)
    )


def sound(scene: Any) -> np.ndarray:
    """What the caller heard, a row for each 20 ms."""
    return np.frombuffer(decode(b"".join(scene.carrier.heard)), "<i2").reshape(-1, 160)


def voiced(scene: Any) -> np.ndarray:
    """In which 20 ms the agent's voice was heard."""
    return sound(scene).mean(axis=1) > 4000


async def _converse(scene: Any) -> None:
    await scene.carrier.until(lambda: len(scene.transcript()) == 1)
    await scene.carrier.speak(0.6)
    await scene.carrier.until(lambda: len(scene.transcript()) == 3)
    await asyncio.sleep(1.0)
    scene.carrier.hang_up()
    await scene.outcome()


@BOTH
@pytest.mark.proves("agent.background.sound", "agent.background.volume")
def test_room_is_heard_under_the_voice_and_in_the_silence(stage: Any) -> None:
    """At its volume, without a gap, from the answer to the end; the voice comes when it comes in a quiet room, and
    transcript, times and the model's context are the same."""
    scenes = []
    for agent in (stage.an_agent(LONG), a_room(stage, LONG, 0.1), a_room(stage, LONG, 0.4)):
        stage.script.caller, stage.script.replies = ["Well?"], ["All right. That is good."]
        stage.script.contexts.clear()
        scene = stage.play(agent, _converse)
        scenes.append((scene, list(stage.script.contexts)))
    (quiet, context), *rooms = scenes
    levels = []
    for room, room_context in rooms:
        heard = sound(room)[3:-1]
        assert (np.abs(heard).max(axis=1) > 0).all()
        levels.append(level_dbfs(sound(room)[~voiced(room)].tobytes()))
        assert np.flatnonzero(voiced(room)) == pytest.approx(np.flatnonzero(voiced(quiet)), abs=1)
        assert heard[voiced(room)[3:-1]].std(axis=1).max() > 200
        assert room.transcript() == quiet.transcript()
        assert room_context == context
        for mine, theirs in zip(room.facts.of(TranscriptFinal), quiet.facts.of(TranscriptFinal), strict=True):
            assert (mine.start_ms, mine.end_ms) == pytest.approx((theirs.start_ms, theirs.end_ms), abs=25)
    assert levels == pytest.approx([-40, -28], abs=2.5)


@BOTH
@pytest.mark.parametrize("is_streamed", [False, True])
def test_room_changes_no_interruption(stage: Any, is_streamed: bool) -> None:
    """What was heard of a cut reply is the same words, and the room goes on behind the cut."""
    stage.script.is_streamed = is_streamed

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: voiced(scene).sum() >= 140)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    cut = []
    for agent in (stage.an_agent(LONG), a_room(stage, LONG)):
        stage.script.caller, stage.script.replies = ["Stop."], ["All right."]
        scene = stage.play(agent, act)
        cut.append(scene.facts.of(TranscriptFinal)[0])
    assert all(fact.is_interrupted for fact in cut)
    assert cut[1].text == cut[0].text
    assert cut[1].end_ms == pytest.approx(cut[0].end_ms, abs=25)
    assert (np.abs(sound(scene)[3:-1]).max(axis=1) == 0).sum() <= 1


async def test_recording_has_the_room(stage: Any, tmp_path: Path) -> None:
    """The agent's side of it is what the caller heard, but for the telephone's own loss."""
    store = MemoryStore()
    agent = msgspec.structs.replace(a_room(stage, "One two three.", 0.5), recording="on")
    scene = stage.scene(agent, blobs=store, recordings_spool=tmp_path)
    await scene.begin()
    await scene.carrier.until(lambda: scene.transcript() and not voiced(scene)[-15:].any())
    scene.carrier.hang_up()
    await scene.running
    (ready,) = scene.facts.of(RecordingReady)
    with wave.open(io.BytesIO(await store.read(ready.parts[0].key))) as file:
        recorded = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)[:, 1]
    heard = sound(scene).ravel()
    at, recorded_at = _voice_begins(heard), _voice_begins(recorded)
    there = slice(at + 200, at + 7800)  # the voice's 0.7 s and the room behind it
    lags = {
        lag: _apart(heard[there], recorded[there.start + lag : there.stop + lag])
        for lag in range(recorded_at - at - 100, recorded_at - at + 100)
    }
    assert min(lags.values()) < 100
    assert level_dbfs(heard[at + 6000 : there.stop].tobytes()) > -45


def _voice_begins(side: np.ndarray) -> int:
    """About the first sample of the voice, which is a plateau of 8000 with the room on it."""
    return int(np.flatnonzero(np.convolve(side.astype(int), np.ones(40), "valid") / 40 > 4000)[0])


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """By how much the samples differ, in the middle."""
    return float(np.median(np.abs(one.astype(int) - other))) if len(one) == len(other) else 65536.0
