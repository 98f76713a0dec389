"""One turn in writing: the model with its tools until it has answered, and what it did meanwhile."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from msgspec import Struct, json
from msgspec.structs import replace
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMAssistantAggregator

from turncall_media.pipelines.kit import Kit, KitGate
from turncall_media.pipelines.succession import model_of
from turncall_media.pipelines.tap import Tap, by_class
from turncall_media.report.events import Told
from turncall_media.text.thinking import Awaited, Model, ModelFailed, running, service_of
from turncall_media.tools.shape import Function, Invocation, ToolFailed
from turncall_proto.events import LeftOut
from turncall_proto.ids import AgentId
from turncall_proto.job import Lookup, ModelUse, ToolUsed

TELL_EVERY_S: Final = 0.05
_UNKNOWN_FATE: Final = "It is not known whether this was done before. It is not repeated."


class Deed(Struct, kw_only=True):
    """What became of the session in this turn, besides the words."""

    is_ended: bool = False
    handed_to: AgentId | None = None


class Scribe:
    """Writes down what the tools of one turn did."""

    def __init__(self) -> None:
        self.turn = 0
        self._asked: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {}
        self._used: list[ToolUsed] = []
        self._known: list[Lookup] = []

    @property
    def used(self) -> tuple[ToolUsed, ...]:
        """In the order in which they answered."""
        return tuple(self._used)

    def tool_called(self, tool_call_id: str, tool: str, arguments: dict[str, Any], bound: Mapping[str, str]) -> None:
        """Before it is run."""
        self._asked[tool_call_id] = (tool, arguments, dict(bound))

    def tool_returned(self, tool_call_id: str, tool: str, output: Any, latency_s: float, *, is_ok: bool) -> None:
        """What it answered."""
        _, arguments, bound = self._asked.pop(tool_call_id)
        self._used.append(
            ToolUsed(
                tool_call_id=tool_call_id,
                tool=tool,
                arguments=arguments,
                bound=bound,
                is_ok=is_ok,
                output=output,
                latency_ms=round(latency_s * 1000),
            )
        )

    @property
    def known(self) -> tuple[Lookup, ...]:
        """What the model was told of knowledge bases."""
        return tuple(self._known)

    def informed(self, told: Told) -> None:
        """The model was told something, or nothing was found to tell."""
        self._known.append(
            Lookup(
                mode=told.mode,
                question=told.question,
                citations=told.citations,
                latency_ms=round(told.latency_s * 1000),
                detail=told.detail,
            )
        )

    def tools_discovered(
        self, server: str, tools: tuple[str, ...], left_out: tuple[LeftOut, ...], took_s: float, why: str
    ) -> None:
        """Nobody waits on a line for it: the log of the servers says it."""


class Writer(Awaited[None]):
    """Gathers the answer as it is written; ``tell`` gets its pieces. Ends when nothing of it is awaited any more."""

    def __init__(self, vendor: str, tell: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(vendor)
        self.has_model_spoken = False
        self._tell = tell
        self._text: list[str] = []
        self._told: list[str] = []
        self._is_writing = True
        self._pending: set[str] = set()
        self._goes_on = False
        self.notice = by_class(
            {
                LLMFullResponseStartFrame: self._began,
                LLMTextFrame: lambda frame: self._wrote(frame.text),
                FunctionCallsStartedFrame: self._called,
                FunctionCallResultFrame: self._returned,
                LLMFullResponseEndFrame: self._ended,
                MetricsFrame: self.measured,
            }
        )

    @property
    def text(self) -> str:
        """All that the agent answers, each piece of the model's a paragraph."""
        return "".join(self._text).strip()

    async def say(self, text: str, *, is_kept: bool) -> None:
        """What the platform says in the model's place. Fillers are for who waits on a line."""
        if is_kept:
            self._wrote(text)

    async def run(self) -> None:
        """Tells the pieces as they come, so that the pipeline does not wait for whoever follows."""
        while True:
            await self.flush()
            await asyncio.sleep(TELL_EVERY_S)

    async def flush(self) -> None:
        """Tells what is written and was not told."""
        if self._told:
            piece = "".join(self._told)
            self._told.clear()
            await self._tell(piece)

    def _wrote(self, text: str) -> None:
        if text.strip():
            self.has_model_spoken = True
        self._text.append(text)
        self._told.append(text)

    def _began(self, _: Frame) -> None:
        self._is_writing, self._goes_on = True, False
        if self.text:
            self._wrote("\n\n")

    def _called(self, frame: FunctionCallsStartedFrame) -> None:
        self._pending |= {call.tool_call_id for call in frame.function_calls}

    def _returned(self, frame: FunctionCallResultFrame) -> None:
        self._pending.discard(frame.tool_call_id)
        run_llm = frame.properties.run_llm if frame.properties is not None else True
        self._goes_on = self._goes_on or run_llm is not False
        self._look()

    def _ended(self, _: Frame) -> None:
        self._is_writing = False
        self._look()

    def _look(self) -> None:
        if not (self._is_writing or self._pending or self._goes_on or self.done.done()):
            self.done.set_result(None)


async def written(model: Model, context: LLMContext, kit: Kit, writer: Writer, within_s: float) -> ModelUse:
    """Has the model answer ``context``, with its tools. What it used. Raises `ModelFailed`, also for silence.

    The context holds what the tools answered, so that another model can go on from there.
    """
    service = await service_of(model)
    kit.equip(service)
    stages = [
        KitGate(kit),
        Tap("Asked", lambda _: None, up=by_class({ErrorFrame: writer.refused})),
        service,
        Tap("Writer", writer.notice),
        LLMAssistantAggregator(context, enable_direct_mode=True),
    ]
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(running(stages, writer.failed, writer.blocked))
        telling = asyncio.create_task(writer.run(), name="telling")
        stack.callback(telling.cancel)
        try:
            async with asyncio.timeout(within_s):
                await worker.queue_frame(LLMContextFrame(context))
                await writer.done
                await writer.flush()
        except TimeoutError as error:
            raise ModelFailed(model.ref.vendor, f"no answer within {within_s:g} s", is_final=False) from error
    return writer.used(model_of(service))


def once(function: Function, job_id: str, *, is_repeat: bool) -> Function:
    """The function under ids that are the same when the job is done again: the n-th use with the same arguments.

    So a server that takes an Idempotency-Key sees a repeat as one. Where there is no such key, a job that somebody may
    have begun before does not use the function.
    """
    uses: dict[bytes, int] = {}

    async def run(invocation: Invocation) -> Any:
        if is_repeat and not function.is_repeatable:
            raise ToolFailed(_UNKNOWN_FATE)
        use = json.encode([job_id, function.name, invocation.arguments], order="deterministic")
        uses[use] = uses.get(use, 0) + 1
        digest = hashlib.sha256(use + b"%d" % uses[use]).hexdigest()[:32]
        return await function.run(replace(invocation, tool_call_id=f"call_{digest}"))

    return replace(function, run=run)
