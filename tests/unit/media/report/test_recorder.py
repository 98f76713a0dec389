"""Parts of a recording reach the store, sooner or later, and disturb nobody."""

import asyncio
import io
import os
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from turncall_blobs import MemoryStore
from turncall_blobs.store import StoreUnavailable
from turncall_media.report.recorder import PART_S, Recorder, Recording, adopt, keep_adopting


class FlakyStore(MemoryStore):
    """Away until it is told otherwise."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable(key)
        await super().put(key, data, content_type)


def a_key(index: int) -> str:
    """Where a part belongs."""
    return f"recordings/prj_1/call_1/0001/{index:06}.wav"


async def record(store: MemoryStore, spool: Path, seconds: float, within_s: float = 5.0) -> Recording | None:
    """Records a caller at level 1000 and an agent at 2000 for so long."""
    recorder = Recorder(a_key, store, spool)
    recorder.begin(0)
    running = asyncio.create_task(recorder.run())
    for at_ms in range(0, round(seconds * 1000), 20):
        recorder.caller(at_ms, np.full(160, 1000, "<i2").tobytes())
        recorder.agent(at_ms, np.full(160, 2000, "<i2").tobytes())
        if at_ms % 1000 == 0:
            await asyncio.sleep(0)
    try:
        return await recorder.close(running, within_s)
    finally:
        running.cancel()
        await asyncio.wait({running})


async def sound(store: MemoryStore) -> np.ndarray:
    """The whole recording as it lies in the store."""
    parts: AsyncIterator[str] = store.keys("recordings/")
    files = [wave.open(io.BytesIO(await store.read(key))) async for key in parts]  # noqa: SIM115
    return np.frombuffer(b"".join(file.readframes(file.getnframes()) for file in files), "<i2").reshape(-1, 2)


async def test_long_call_is_stored_in_parts(tmp_path: Path) -> None:
    """Ten seconds to a part, no sample lost or doubled between them, nothing left on disk."""
    store = MemoryStore()
    recording = await record(store, tmp_path, 25.5)
    assert recording is not None
    assert [part.duration_ms for part in recording.parts] == [10_000, 10_000, 5_500]
    assert [part.key for part in recording.parts] == [a_key(index) for index in range(3)]
    assert [part.size_bytes for part in recording.parts] == [(await store.stat(a_key(i))).size_bytes for i in range(3)]
    heard = await sound(store)
    assert len(heard) == 25.5 * 8000
    assert (heard == (1000, 2000)).all()
    assert os.listdir(tmp_path) == []


async def test_store_that_comes_back_gets_everything(tmp_path: Path) -> None:
    """Parts wait on disk and are tried again, in their order."""
    store = FlakyStore(failures=2)
    recording = await record(store, tmp_path, 12.5)
    assert recording is not None
    assert len(recording.parts) == 2
    assert len(await sound(store)) == 12.5 * 8000


def age(spool: Path) -> None:
    """Makes everything under ``spool`` an hour old."""
    for name in os.listdir(spool):
        os.utime(spool / name, (time.time() - 3600,) * 2)


async def test_store_that_stays_away_gets_the_parts_later(tmp_path: Path) -> None:
    """A call's end does not wait for ever; a recording that is not stored is not announced, and not lost."""
    store = FlakyStore(failures=1000)
    assert await record(store, tmp_path, 12.5, within_s=0.2) is None
    assert await adopt(tmp_path, store) == 0  # too young: the call may still be at it
    age(tmp_path)
    assert await adopt(tmp_path, store) == 2
    store.failures = 0
    assert await adopt(tmp_path, store) == 0
    assert len(await sound(store)) == 12.5 * 8000
    assert os.listdir(tmp_path) == []


async def test_what_an_earlier_process_left_is_stored_at_once(tmp_path: Path) -> None:
    """A process that starts does not wait for the parts in its folder to age: their author is dead."""
    store = FlakyStore(failures=1000)
    assert await record(store, tmp_path, 12.5, within_s=0.2) is None
    store.failures = 0
    await asyncio.sleep(0.01)
    adopting = asyncio.create_task(keep_adopting(tmp_path, store))
    async with asyncio.timeout(5):
        while os.listdir(tmp_path):  # noqa: ASYNC110 - the disk sends no event
            await asyncio.sleep(0.01)
    adopting.cancel()
    assert len(await sound(store)) == 12.5 * 8000


async def test_part_that_somebody_else_stored_counts_as_stored(tmp_path: Path) -> None:
    """Whoever stores a part of a live call first, the recording is announced once it is whole."""
    store = FlakyStore(failures=3)
    recorder = Recorder(a_key, store, tmp_path)
    recorder.begin(0)
    running = asyncio.create_task(recorder.run())
    recorder.caller(0, bytes(320))
    closing = asyncio.create_task(recorder.close(running, 5.0))
    while not os.listdir(tmp_path) or store.failures == 3:  # noqa: ASYNC110 - the disk sends no event
        await asyncio.sleep(0.01)
    store.failures = 0
    age(tmp_path)
    assert await adopt(tmp_path, store) == 0
    recording = await closing
    assert recording is not None
    assert len(await sound(store)) == 160


async def test_disk_that_fails_is_not_announced_as_a_recording(tmp_path: Path) -> None:
    """A lost part makes the recording incomplete, and nobody is told otherwise."""
    spool = tmp_path / "file"
    spool.write_text("not a folder")
    assert await record(MemoryStore(), spool, 1.0) is None


async def test_silent_call_has_no_recording(tmp_path: Path) -> None:
    """Nothing was heard, so there is nothing to store."""
    assert await record(MemoryStore(), tmp_path, 0) is None


async def test_agent_is_recorded_as_heard(tmp_path: Path) -> None:
    """What the carrier forgot is not in the recording."""
    store = MemoryStore()
    recorder = Recorder(a_key, store, tmp_path)
    recorder.begin(0)
    running = asyncio.create_task(recorder.run())
    recorder.agent(100.0, np.full(8000, 2000, "<i2").tobytes())
    recorder.agent_cut(600.0)
    recorder.caller(1480, bytes(320))
    assert await recorder.close(running, 5.0) is not None
    agent = (await sound(store))[:, 1]
    assert np.flatnonzero(agent).tolist() == list(range(800, 4800))
    assert len(agent) == 12_000


def test_part_is_ten_seconds() -> None:
    """320 kB: small enough to lose little, large enough for an object store."""
    assert PART_S * 8000 * 4 == 320_000


async def test_nothing_is_kept_before_it_begins_and_while_it_is_paused(tmp_path: Path) -> None:
    """Silence stands in its place, for however long, so that every sound keeps its time."""
    store = MemoryStore()
    recorder = Recorder(a_key, store, tmp_path)
    running = asyncio.create_task(recorder.run())
    for at_ms in range(0, 100_000, 20):
        if at_ms == 40_000:
            recorder.begin(at_ms)
        elif at_ms == 50_000:
            recorder.pause(at_ms)
        elif at_ms == 95_000:
            recorder.resume()
        recorder.caller(at_ms, np.full(160, 1000, "<i2").tobytes())
        recorder.agent(at_ms, np.full(160, 2000, "<i2").tobytes())
        if at_ms % 1000 == 0:
            await asyncio.sleep(0.001)
    stored = await recorder.close(running, 5.0)
    assert stored is not None
    assert stored.duration_ms == 100_000
    both = await sound(store)
    is_silent = [not both[second * 8000 : (second + 1) * 8000].any() for second in range(100)]
    assert is_silent == [True] * 40 + [False] * 10 + [True] * 45 + [False] * 5
    assert both[45 * 8000].tolist() == both[97 * 8000].tolist() == [1000, 2000]


async def test_a_recording_that_never_begins_leaves_nothing(tmp_path: Path) -> None:
    """Not a file, and no memory of what was said."""
    store = MemoryStore()
    recorder = Recorder(a_key, store, tmp_path)
    running = asyncio.create_task(recorder.run())
    for at_ms in range(0, 30_000, 20):
        recorder.caller(at_ms, np.full(160, 1000, "<i2").tobytes())
    assert await recorder.close(running, 5.0) is None
    assert [key async for key in store.keys("recordings/")] == []
    assert os.listdir(tmp_path) == []
