"""Both directions of a call on one time line."""

import asyncio

import numpy as np
import pytest

from turncall_phone import mulaw
from turncall_phone.line import Line, LineClosed, SpeechMeter
from turncall_phone.playout import FRAME_SAMPLES, Playout

LOUD = np.full(FRAME_SAMPLES, 4000, dtype=np.int16)


class Peer:
    """Keeps what the line gives it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.marks: list[str] = []

    def return_marks(self, names: tuple[str, ...]) -> None:
        self.marks.extend(names)

    def send_audio(self, codes: bytes) -> None:
        self.frames.append(codes)


def ticks(line: Line, count: int) -> None:
    """Let `count` frames pass."""
    for _ in range(count):
        line.tick()


def test_heard_and_said_share_one_time_line() -> None:
    """Silence stands where nothing was heard or said, and both recordings are as long as the call."""
    line = Line()
    ticks(line, 2)
    line.ear.feed(LOUD)
    ticks(line, 1)
    line.mouth.feed(LOUD)
    ticks(line, 2)

    heard, said = np.frombuffer(line.heard, np.int16), np.frombuffer(line.said, np.int16)
    assert len(heard) == len(said) == 5 * FRAME_SAMPLES
    assert np.flatnonzero(heard)[[0, -1]].tolist() == [2 * FRAME_SAMPLES, 3 * FRAME_SAMPLES - 1]
    assert np.flatnonzero(said)[[0, -1]].tolist() == [3 * FRAME_SAMPLES, 4 * FRAME_SAMPLES - 1]


def test_a_connected_stream_gets_a_frame_each_tick_even_in_silence() -> None:
    """The carrier never stops sending: silence goes out as 0xFF, speech as its codes."""
    line, peer = Line(), Peer()
    line.connect(peer, Playout())
    ticks(line, 1)
    line.mouth.feed(LOUD)
    ticks(line, 1)

    assert peer.frames == [b"\xff" * FRAME_SAMPLES, mulaw.encode(LOUD)]


def test_played_marks_go_back_to_the_stream_and_disconnecting_drops_the_rest() -> None:
    """A mark whose audio was heard returns; what was queued when the stream left is never heard."""
    line, peer, ear = Line(), Peer(), Playout()
    line.connect(peer, ear)
    ear.feed(LOUD)
    ear.mark("first")
    ear.feed(LOUD)
    ticks(line, 2)
    ear.feed(LOUD)
    line.disconnect()
    ticks(line, 2)

    assert peer.marks == ["first"]
    assert np.flatnonzero(np.frombuffer(line.heard, np.int16))[-1] == 2 * FRAME_SAMPLES - 1


def test_speech_is_a_burst_until_300_ms_of_silence() -> None:
    """Gaps between words belong to the burst; a longer silence ends it."""
    meter = SpeechMeter()
    for frame in [LOUD] * 5 + [None] * 10 + [LOUD] * 5:
        meter.hear(frame)

    assert (meter.is_speaking, meter.spoken_ms, meter.burst_ms) == (True, 200, 400)
    for _ in range(15):
        meter.hear(None)
    assert (meter.is_speaking, meter.silent_ms) == (False, 300)


def test_a_faint_line_is_not_speech() -> None:
    """Noise below the threshold does not count as someone speaking."""
    meter = SpeechMeter()
    meter.hear(np.full(FRAME_SAMPLES, 100, dtype=np.int16))

    assert meter.spoken_ms == 0


async def test_waiting_runs_on_the_calls_own_time() -> None:
    """A wait of 100 ms ends with the fifth frame and not before."""
    line = Line()
    waiting = asyncio.create_task(line.wait_ms(100))
    await asyncio.sleep(0)
    ticks(line, 4)
    await asyncio.sleep(0)
    assert not waiting.done()
    ticks(line, 1)
    await waiting


async def test_the_end_of_the_call_ends_every_wait() -> None:
    """Whoever waits on a line that closes gets LineClosed, and so does whoever comes later."""
    line = Line()
    waiting = asyncio.create_task(line.until(lambda: False))
    await asyncio.sleep(0)
    line.close()

    with pytest.raises(LineClosed):
        await waiting
    with pytest.raises(LineClosed):
        await line.wait_ms(20)
