"""A noisy line: what is recognised is cleaned, if the agent wants that; what is kept of the call is not."""

import asyncio
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from turncall_blobs import MemoryStore
from turncall_media.audio.mulaw import encode
from turncall_proto.events import RecordingReady
from turncall_testkit.audio import level_dbfs

NOISE = np.random.default_rng(7).normal(0, 300, 160).astype("<i2").tobytes()
VOICE = (9000 * np.sin(2 * np.pi * 300 * np.arange(160) / 8000)).astype("<i2").tobytes()
SECOND = 16_000
"""Bytes at 8 kHz."""


@pytest.mark.proves("agent.noise_filter")
@pytest.mark.parametrize("is_filtered", [False, True])
def test_steady_noise_is_taken_out_of_what_is_recognised(stage: Any, is_filtered: bool) -> None:
    """By more than 10 dB within a second; the voice stays as loud, and turns go as they did."""
    stage.script.caller, stage.script.replies = ["Hello?"], ["Good day."]

    async def act(scene: Any) -> None:
        scene.carrier.line, scene.carrier.voice = encode(NOISE), encode(VOICE)
        await asyncio.sleep(2.0)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        await asyncio.sleep(0.5)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(replace(stage.an_agent(), noise_filter=is_filtered), act)
    assert scene.transcript() == [("caller", "Hello?"), ("agent", "Good day.")]
    line_dbfs = level_dbfs(NOISE)
    heard = bytes(stage.script.ear)
    before = level_dbfs(heard[SECOND : 2 * SECOND])
    assert before < line_dbfs - 10 if is_filtered else before == pytest.approx(line_dbfs, abs=1)
    windows = [level_dbfs(heard[at : at + 1600]) for at in range(0, len(heard) - 1600, 1600)]
    assert max(windows) > level_dbfs(VOICE) - 3
    assert len(heard) > 3 * SECOND


async def test_the_recording_has_the_noise(stage: Any, tmp_path: Path) -> None:
    """Who listens to a call hears what there was."""
    store = MemoryStore()
    agent = replace(stage.an_agent(), noise_filter=True, recording="on")
    scene = stage.scene(agent, blobs=store, recordings_spool=tmp_path)
    await scene.begin()
    scene.carrier.line = encode(NOISE)
    await asyncio.sleep(1.6)
    scene.carrier.hang_up()
    await scene.running
    (ready,) = scene.facts.of(RecordingReady)
    with wave.open(io.BytesIO(await store.read(ready.parts[0].key))) as file:
        caller = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)[:, 0]
    assert level_dbfs(caller[4000:10_000].tobytes()) == pytest.approx(level_dbfs(NOISE), abs=1)
