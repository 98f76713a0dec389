"""A recorded call, in real time: what lies in the store is what both sides heard."""

import asyncio
import io
import os
import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from turncall_blobs import MemoryStore
from turncall_proto.events import RecordingReady

from .both import BOTH


@BOTH
async def test_both_sides_are_recorded_as_heard(stage: Any, tmp_path: Path) -> None:
    """The caller is left where the caller spoke, the agent right where it was heard, and cut where it was cut."""
    store = MemoryStore()
    agent = msgspec.structs.replace(
        stage.an_agent("One two three four five six seven.", vad_start_ms=100), recording="on"
    )
    stage.script.caller = ["Stop."]
    stage.script.llm_s = 5.0
    scene = stage.scene(agent, blobs=store, recordings_spool=tmp_path)
    await scene.begin()
    await scene.carrier.until(lambda: scene.carrier.heard_s() >= 0.5)
    spoke_at = scene.carrier.frames_sent * 0.02
    await scene.carrier.speak(0.4)
    await asyncio.sleep(0.2)
    scene.carrier.hang_up()
    await scene.running
    (ready,) = scene.facts.of(RecordingReady)
    (part,) = ready.parts
    with wave.open(io.BytesIO(await store.read(part.key))) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    caller, agent_heard = np.flatnonzero(both[:, 0]) / 8000, np.flatnonzero(both[:, 1]) / 8000
    assert caller[0] == pytest.approx(spoke_at, abs=0.03)
    assert len(caller) / 8000 == pytest.approx(0.4, abs=0.03)
    assert len(agent_heard) / 8000 == pytest.approx(scene.carrier.heard_s(), abs=0.15)
    assert agent_heard[-1] == pytest.approx(scene.carrier.clears_at[0] - scene.opened_at_s, abs=0.1)
    assert ready.duration_ms == pytest.approx(len(both) / 8, abs=1)
    assert os.listdir(tmp_path) == []


@BOTH
@pytest.mark.proves("agent.recording")
async def test_unrecorded_call_leaves_no_sound(stage: Any, tmp_path: Path) -> None:
    """recording="off" writes nothing, anywhere."""
    store = MemoryStore()
    scene = stage.scene(stage.an_agent("Hi."), blobs=store, recordings_spool=tmp_path)
    await scene.begin()
    await scene.carrier.until(lambda: scene.transcript(), within_s=20)
    scene.carrier.hang_up()
    await scene.running
    assert scene.facts.of(RecordingReady) == []
    assert [key async for key in store.keys("recordings/")] == []
    assert os.listdir(tmp_path) == []
