"""The functions that a call's model may use: the agent's own at once, those of its MCP servers when they are found."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from pipecat.frames.frames import Frame, LLMContextFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService

from turncall_media.pipelines import toolbox
from turncall_media.stages.exchange import AnswerFrame
from turncall_media.tools.shape import Function
from turncall_media.toolservers.servers import ToolServers


class Kit:
    """``async with kit``: looks for the functions of ``servers``, and lets go of them at the end."""

    def __init__(
        self, functions: Sequence[Function], servers: ToolServers | None, context: LLMContext, shared: toolbox.Shared
    ) -> None:
        self._functions = list(functions)
        self._servers = servers
        self._context = context
        self._shared = shared
        self._models: list[LLMService[Any]] = []
        self._is_complete = asyncio.Event()
        self._filling: asyncio.Task[None] | None = None
        context.set_tools(toolbox.schemas(self._functions))

    @property
    def is_awaited(self) -> bool:
        """Whether there may be more functions than there are by now."""
        return self._servers is not None

    def equip(self, model: FrameProcessor) -> None:
        """Gives a model the functions, also those that are found later."""
        if isinstance(model, LLMService):
            self._models.append(model)
            toolbox.register(self._functions, model, self._shared)

    async def complete(self) -> None:
        """Returns when every server was found or is done without."""
        await self._is_complete.wait()

    async def __aenter__(self) -> Self:
        if self._servers is None:
            self._is_complete.set()
        else:
            self._servers.start()
            self._filling = asyncio.create_task(self._fill(self._servers), name="tool servers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait({self._filling})
        if self._servers is not None:
            await self._servers.close()

    async def _fill(self, servers: ToolServers) -> None:
        narrator = self._shared.narrator
        try:
            for found in await servers.found({function.name for function in self._functions}):
                names = tuple(function.name for function in found.offer.functions)
                narrator.tools_discovered(found.server, names, found.offer.left_out, found.took_s, found.why)
                self._functions += found.offer.functions
            self._context.set_tools(toolbox.schemas(self._functions))
            for model in self._models:
                toolbox.register(self._functions, model, self._shared)
        finally:
            self._is_complete.set()


class KitGate(FrameProcessor):
    """Before the model: what it is asked waits until its functions are complete. An interruption calls that off, as it
    calls off a reply; nothing else in the call waits."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(name="KitGate")
        self._kit = kit

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame) or (isinstance(frame, AnswerFrame) and frame.is_answered):
            await self._kit.complete()
        await self.push_frame(frame, direction)
