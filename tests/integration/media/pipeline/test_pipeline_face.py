"""A voice with an avatar before the wire: when it is heard, what an interruption leaves, and what a lost one costs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Struct
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.text.base_text_aggregator import TextType
from pipecat.workers.runner import WorkerRunner

from turncall_media.audio.sound import WIDEBAND
from turncall_media.pipelines import face
from turncall_media.pipelines.face import Face
from turncall_media.pipelines.speaking import HeardFrame
from turncall_media.report.events import Narrator
from turncall_media.stages.avatars import Audience, AvatarFailed, Picture
from turncall_proto.events import CallEvent, VendorFailed
from turncall_proto.ids import CallId

WAIT_S = 20
PICTURE = Picture(rgb=bytes(12), width=2, height=2)
PIECE = TTSAudioRawFrame


class Reporter:
    """Keeps what is stated."""

    def __init__(self) -> None:
        self.facts: list[tuple[type[CallEvent], dict[str, Any]]] = []

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None:
        self.facts.append((kind, facts))

    def whisper(self, message: Struct) -> None: ...


class Scripted:
    """An avatar that moves its lips when the test says so, and breaks in ``begin`` or later by ``fault``."""

    rate_hz = 24_000

    def __init__(self, fault: str = "") -> None:
        self.audience: Audience | None = None
        self.given: list[bytes | str] = []
        self.fault = fault
        self.is_closed = False

    async def begin(self, audience: Audience) -> None:
        if self.fault == "begin":
            raise AvatarFailed("nobody is there")
        self.audience = audience
        audience.show(PICTURE)

    async def speak(self, pcm: bytes) -> None:
        if self.fault == "speak":
            raise AvatarFailed("it fell over")
        self.given.append(pcm)

    async def pause(self) -> None:
        self.given.append("pause")

    async def interrupt(self) -> None:
        self.given.append("interrupt")

    async def close(self) -> None:
        self.is_closed = True
        if self.audience is not None:
            self.audience.failed("its room was closed")


class Wire(FrameProcessor):
    """What would be played."""

    def __init__(self) -> None:
        super().__init__(enable_direct_mode=True)
        self.got: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM and isinstance(
            frame, TTSAudioRawFrame | TTSTextFrame | TTSStoppedFrame | TTSStartedFrame | InterruptionFrame | HeardFrame
        ):
            self.got.append(frame)
        await self.push_frame(frame, direction)


class Stage:
    """A face between a test and a wire."""

    def __init__(self, avatar: Scripted) -> None:
        loop = asyncio.get_running_loop()
        self.avatar, self.reporter, self.wire = avatar, Reporter(), Wire()
        self.seen: list[Picture] = []
        self.narrator = Narrator(self.reporter, (CallId("call_1"), 1), loop.time, loop.time())  # type: ignore[arg-type]
        self.narrator.serves("avatar", "scripted", "")
        self.face = Face(avatar, self.seen.append, self.narrator, WIDEBAND)
        self.worker = PipelineWorker(
            Pipeline([self.face, self.wire]),
            params=PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=16_000),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stage"]:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        running = asyncio.create_task(runner.run())
        try:
            yield self
        finally:
            await self.worker.cancel()
            async with asyncio.timeout(WAIT_S):
                await running
        assert self.avatar.is_closed

    async def send(self, *frames: Frame) -> None:
        await self.worker.queue_frames(list(frames))

    async def gets(self, *kinds: type[Frame]) -> None:
        """Waits until exactly these have come since the beginning."""
        try:
            await comes(lambda: len(self.wire.got) >= len(kinds))
        finally:
            assert [type(frame) for frame in self.wire.got] == list(kinds)

    def failures(self) -> list[str]:
        return [facts["detail"] for kind, facts in self.reporter.facts if kind is VendorFailed]


async def comes(claim: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not claim():  # noqa: ASYNC110 - facts of many tasks
            await asyncio.sleep(0.01)


def sound(seconds: float = 0.1) -> TTSAudioRawFrame:
    return TTSAudioRawFrame(b"\x10\x20" * int(16_000 * seconds), 16_000, 1)


def words(text: str) -> TTSTextFrame:
    return TTSTextFrame(text, TextType.SENTENCE)


async def test_the_voice_waits_for_the_lips() -> None:
    """Nothing of an utterance passes before they move, then all of it in order; one that follows at once does not wait;
    an interruption leaves nothing of what was held but what outlives one."""
    avatar = Scripted()
    async with Stage(avatar).running() as stage:
        await comes(lambda: stage.face.is_on)
        await stage.send(TTSStartedFrame(), sound(), words("One."), sound())
        await comes(lambda: len(avatar.given) >= 1)
        await stage.gets(TTSStartedFrame)
        assert avatar.audience is not None
        avatar.audience.voiced()
        await stage.gets(TTSStartedFrame, PIECE, TTSTextFrame, PIECE)
        await stage.send(sound(60), TTSStoppedFrame())
        await comes(lambda: "pause" in avatar.given)
        said = b"".join(part for part in avatar.given if isinstance(part, bytes))
        assert len(said) == pytest.approx(2 * 24_000 * 60.2, rel=0.001)
        await stage.gets(TTSStartedFrame, PIECE, TTSTextFrame, PIECE, PIECE, TTSStoppedFrame)
        await stage.send(InterruptionFrame())
        await comes(lambda: avatar.given[-1] == "interrupt")
        stage.wire.got.clear()
        heard = HeardFrame()
        await stage.send(sound(), words("Two."), heard)
        await comes(lambda: isinstance(avatar.given[-1], bytes))
        await stage.send(InterruptionFrame())
        await stage.gets(InterruptionFrame, HeardFrame)
        assert stage.seen == [PICTURE]
        assert stage.narrator.usage["avatar"].audio_ms == 60_300
    assert stage.failures() == []


async def test_a_call_goes_on_as_a_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the avatar cannot be had, breaks, says that it is lost, or never moves its lips: what it held is said, that
    it failed is stated once, and nobody waits for it any more."""
    monkeypatch.setattr(face, "SYNC_WITHIN_S", 0.05)
    async with Stage(Scripted("begin")).running() as stage:
        await comes(lambda: stage.failures() == ["nobody is there"])
        await stage.send(sound())
        await stage.gets(PIECE)
    async with Stage(Scripted("speak")).running() as stage:
        await comes(lambda: stage.face.is_on)
        await stage.send(sound(), TTSStoppedFrame())
        await stage.gets(PIECE, TTSStoppedFrame)
        await comes(lambda: stage.failures() == ["it fell over"])
    mute = Scripted()
    async with Stage(mute).running() as stage:
        await comes(lambda: stage.face.is_on)
        for _ in range(3):
            await stage.send(sound(0.001), TTSStoppedFrame())
            await comes(lambda: isinstance(stage.wire.got[-1:][0] if stage.wire.got else None, TTSStoppedFrame))
            stage.wire.got.clear()
            await asyncio.sleep(0.02)  # the millisecond is over, so that the next one is an utterance of its own
        assert stage.failures() == ["its lips did not move within 0.05 s, 3 times in a row"]
        await stage.send(sound())
        await stage.gets(PIECE)
        assert mute.audience is not None
        mute.audience.failed("its room was closed")
        mute.audience.show(PICTURE)
    assert (len(stage.failures()), stage.seen) == (1, [PICTURE])
