"""One vendor in a tiny pipeline at a phone's rate, and what came out of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.asyncio.task_manager import TaskManager
from pipecat.workers.runner import WorkerRunner

from turncall_media import registry
from turncall_media.stages.exchange import CallerWordsFrame
from turncall_media.stages.kinds import BuildContext, Kind
from turncall_testkit.vendors import tone

RATE_HZ = 8000
LOOPBACK = ("127.0.0.0/8",)


class Out(FrameProcessor):
    """Keeps every frame that reaches the end of the pipeline; what the caller said enters the conversation there."""

    def __init__(self, conversation: LLMContext | None) -> None:
        super().__init__(enable_direct_mode=True)
        self.frames: list[Frame] = []
        self._conversation = conversation

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        if isinstance(frame, CallerWordsFrame) and frame.is_final and self._conversation is not None:
            messages: list[Any] = self._conversation.get_messages()
            places = [one for one in messages if one["role"] == "user" and not one["content"]]
            if places:
                places[0]["content"] = frame.text
            else:
                messages.append({"role": "user", "content": frame.text})
        await self.push_frame(frame, direction)


class Bench:
    """A running pipeline of one vendor."""

    def __init__(self, service: FrameProcessor, conversation: LLMContext | None = None) -> None:
        self.service = service
        self.errors: list[ErrorFrame] = []
        self._out = Out(conversation)
        self._worker = PipelineWorker(
            Pipeline([service, self._out]),
            params=PipelineParams(
                audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ, enable_usage_metrics=True
            ),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
            check_dangling_tasks=False,
            cancel_timeout_secs=3,
        )
        self._worker.add_event_handler("on_pipeline_error", self._note)

    async def _note(self, _: PipelineWorker, error: ErrorFrame) -> None:
        self.errors.append(error)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        """Started; afterwards cancelled, within a deadline and without a task left."""
        before, started = asyncio.all_tasks(), asyncio.Event()

        async def on_started(*_: object) -> None:
            started.set()

        self._worker.add_event_handler("on_pipeline_started", on_started)
        runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False, task_manager=TaskManager())
        await runner.add_workers(self._worker)
        run = asyncio.create_task(runner.run())
        try:
            async with asyncio.timeout(20):
                await started.wait()
            yield self
        finally:
            async with asyncio.timeout(20):
                await self._worker.cancel()
                await run
        async with asyncio.timeout(20):
            while asyncio.all_tasks() - before - {asyncio.current_task()} - _servers():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def send(self, *frames: Frame) -> None:
        """Into the pipeline, one after the other."""
        for frame in frames:
            await self._worker.queue_frame(frame)

    async def utterance(self, duration_s: float = 1.0) -> None:
        """Speech as the voice detector shows it, in frames of 20 ms, a little faster than it would be spoken."""
        sound = tone(300, RATE_HZ, duration_s)
        await self.send(VADUserStartedSpeakingFrame(start_secs=0.2))
        for start in range(0, len(sound), 320):
            await self.send(InputAudioRawFrame(sound[start : start + 320], RATE_HZ, 1))
            await asyncio.sleep(0.002)
        await self.send(VADUserStoppedSpeakingFrame(stop_secs=0.2))

    def got[T: Frame](self, kind: type[T]) -> list[T]:
        """The frames of that class which came out so far."""
        return [frame for frame in self._out.frames if isinstance(frame, kind)]

    async def until(self, is_so: Callable[[], object], within_s: float = 20.0) -> None:
        """Waits until it is so. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            while not is_so():  # noqa: ASYNC110 - what is awaited is a fact of many kinds, and it is a test
                await asyncio.sleep(0.005)

    async def first[T: Frame](self, kind: type[T], within_s: float = 20.0) -> T:
        """The first frame of that class."""
        await self.until(lambda: self.got(kind), within_s)
        return self.got(kind)[0]

    async def error(self, within_s: float = 20.0) -> ErrorFrame:
        """The first error of the vendor."""
        await self.until(lambda: self.errors, within_s)
        return self.errors[0]


def _servers() -> set[asyncio.Task[Any]]:
    """Tasks of the fakes in this process, which outlive the pipeline."""
    return {task for task in asyncio.all_tasks() if "aiohttp" in repr(task.get_coro())}


def built(kind: Kind, vendor: str, options: dict[str, Any], **context: Any) -> FrameProcessor:
    """A vendor's service, from options as a user writes them."""
    module = registry.load(kind, vendor)
    secret = "id-1:key-1" if (kind, vendor) == ("speech", "aws") else "key-1"
    known = {"rate_hz": RATE_HZ, "language": "en-US", "secret": secret, "egress_allow": LOOPBACK}
    return module.build(msgspec.convert(options, module.Options), BuildContext(**(known | context)))


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """``bench(kind, vendor, options, **context)``: a pipeline of that vendor, not started."""

    def made(kind: Kind, vendor: str, options: dict[str, Any], **context: Any) -> Bench:
        if kind == "speech":
            context.setdefault("conversation", LLMContext())
        return Bench(built(kind, vendor, options, **context), context.get("conversation"))

    return made


@pytest.fixture
def build() -> Callable[..., FrameProcessor]:
    """``build(kind, vendor, options, **context)``: that vendor's service."""
    return built
