"""A language model outside a call: the vendor's own service in a pipeline of its own, asked once, and what it used."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import Struct
from pipecat.frames.frames import ErrorFrame, LLMContextFrame, LLMFullResponseEndFrame, LLMTextFrame, MetricsFrame
from pipecat.metrics.metrics import LLMUsageMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.utils.asyncio.task_manager import TaskManager
from pipecat.workers.runner import WorkerRunner

from turncall_media import registry
from turncall_media.audio.sound import TELEPHONE
from turncall_media.errors import SecretUnusable, VendorUnusable
from turncall_media.pipelines.succession import model_of
from turncall_media.pipelines.tap import Tap, by_class
from turncall_media.pipelines.vendors import Sealed, key_for, options_of
from turncall_media.stages.kinds import BuildContext
from turncall_proto.agent import VendorRef
from turncall_proto.job import ModelUse

CONNECT_WITHIN_S: Final = 10.0
CANCEL_WITHIN_S: Final = 3.0


class ModelFailed(Exception):
    """A model did not answer. ``is_final``: it refused the key or the request, so asking again does not help."""

    def __init__(self, vendor: str, why: str, *, is_final: bool) -> None:
        super().__init__(f"{vendor}: {why}")
        self.is_final = is_final


class Thought(Struct, frozen=True, kw_only=True):
    """What a model answered, and what that took."""

    text: str
    used: ModelUse


class Model(Struct, frozen=True, kw_only=True):
    """A language model that may be asked. ``plan`` holds its key, sealed."""

    ref: VendorRef
    language: str
    plan: Sealed
    open_secret: Callable[[str], str]
    egress_allow: tuple[str, ...]


async def service_of(model: Model) -> Any:
    """The vendor's service, not connected. Raises `ModelFailed` when it cannot be built."""
    try:
        await asyncio.to_thread(registry.warm, "llm", model.ref.vendor)
        module = registry.load("llm", model.ref.vendor)
        context = BuildContext(
            rate_hz=TELEPHONE.rate_hz,
            language=model.language,
            secret=key_for(model.ref, module.CAPABILITIES, model.plan, model.open_secret),
            egress_allow=model.egress_allow,
        )
        return module.build(options_of(module, "llm", model.ref), context)
    except (VendorUnusable, SecretUnusable) as error:
        raise ModelFailed(model.ref.vendor, str(error), is_final=True) from error


@asynccontextmanager
async def running(
    stages: list[Any],
    failed: Callable[[PipelineWorker, ErrorFrame], Awaitable[None]],
    blocked: Callable[..., Awaitable[None]],
) -> AsyncIterator[PipelineWorker]:
    """A pipeline for as long as it is needed; nothing of it is left behind. ``blocked``: it did not start in time."""
    worker = PipelineWorker(
        Pipeline(stages),
        params=PipelineParams(enable_usage_metrics=True),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        check_dangling_tasks=False,
        setup_timeout_secs=CONNECT_WITHIN_S,
        start_timeout_secs=CONNECT_WITHIN_S,
        cancel_timeout_secs=CANCEL_WITHIN_S,
    )
    worker.add_event_handler("on_pipeline_error", failed)
    worker.add_event_handler("on_setup_timeout", blocked)
    manager = TaskManager()
    task = asyncio.create_task(_run(worker, manager), name="text pipeline")
    try:
        yield worker
    finally:
        await worker.cancel()
        await asyncio.wait({task}, timeout=CANCEL_WITHIN_S)
        for left in (task, *manager.current_tasks()):
            left.cancel()


async def think(model: Model, messages: Sequence[Any], within_s: float) -> Thought:
    """Asks a model once, with messages in OpenAI's form. Raises `ModelFailed`, also for silence."""
    service = await service_of(model)
    answer = _Answer(model.ref.vendor, model_of(service))
    asked = Tap("Asked", lambda _: None, up=by_class({ErrorFrame: answer.refused}))
    async with running([asked, service, Tap("Answer", answer.notice)], answer.failed, answer.blocked) as worker:
        try:
            async with asyncio.timeout(within_s):
                await worker.queue_frame(LLMContextFrame(LLMContext(list(messages))))
                return await answer.done
        except TimeoutError as error:
            raise ModelFailed(model.ref.vendor, f"no answer within {within_s:g} s", is_final=False) from error


class Awaited[T]:
    """An answer that a model is to give: ``done`` has it, or a `ModelFailed`."""

    def __init__(self, vendor: str) -> None:
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._vendor = vendor
        self._read = self._written = 0

    def used(self, model: str) -> ModelUse:
        """What it took so far."""
        return ModelUse(vendor=self._vendor, model=model, input_tokens=self._read, output_tokens=self._written)

    def measured(self, frame: MetricsFrame) -> None:
        """The model tells its tokens."""
        for data in frame.data:
            if isinstance(data, LLMUsageMetricsData):
                self._read += data.value.prompt_tokens
                self._written += data.value.completion_tokens

    async def failed(self, _: PipelineWorker, error: ErrorFrame) -> None:
        """Something else in the pipeline failed."""
        self.refused(error)

    def refused(self, error: ErrorFrame) -> None:
        """The model did not answer. Told before the end of its reply, which otherwise looks like an empty one."""
        is_final = error.category is not None and error.category.is_permanent
        self._give_up(error.error, is_final=is_final)

    async def blocked(self, *_: object) -> None:
        """The model did not connect."""
        self._give_up("did not connect", is_final=False)

    def _give_up(self, why: str, *, is_final: bool) -> None:
        if not self.done.done():
            self.done.set_exception(ModelFailed(self._vendor, why, is_final=is_final))


class _Answer(Awaited[Thought]):
    """Gathers the answer as it streams."""

    def __init__(self, vendor: str, model: str) -> None:
        super().__init__(vendor)
        self._model = model
        self._text: list[str] = []
        self.notice = by_class(
            {
                LLMTextFrame: lambda frame: self._text.append(frame.text),
                MetricsFrame: self.measured,
                LLMFullResponseEndFrame: self._ended,
            }
        )

    def _ended(self, _: LLMFullResponseEndFrame) -> None:
        if not self.done.done():
            self.done.set_result(Thought(text="".join(self._text), used=self.used(self._model)))


async def _run(worker: PipelineWorker, manager: TaskManager) -> None:
    runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False, task_manager=manager)
    await runner.add_workers(worker)
    await runner.run()
