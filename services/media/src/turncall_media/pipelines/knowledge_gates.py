"""Where a reply waits for what the documents say: before the model of a cascade, and before one that hears itself."""

import asyncio
from contextlib import suppress
from typing import Final

from pipecat.frames.frames import Frame, LLMContextFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from turncall_media.pipelines.knowing import Recall
from turncall_media.stages.exchange import AnswerFrame

WORDS_WITHIN_S: Final = 2.0
"""For the words of a turn from a model that hears by itself; a reply that they do not come for is given without."""


class KnowledgeGate(FrameProcessor):
    """In a cascade: the model is asked when its context holds what the documents say. An interruption calls that off,
    as it calls off a reply; nothing else in the call waits."""

    def __init__(self, recall: Recall) -> None:
        super().__init__(name="KnowledgeGate")
        self._recall = recall

    async def cleanup(self) -> None:
        """Lets go of a search with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        self._recall.close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame) and direction is FrameDirection.DOWNSTREAM:
            await self._recall.tell()
        await self.push_frame(frame, direction)


class HearingGate(FrameProcessor):
    """Before a model that hears by itself: it is given the caller's turn to hear, and asked to answer once its words
    are known and looked up. A turn without words is answered with nothing."""

    def __init__(self, recall: Recall, context: LLMContext) -> None:
        super().__init__(name="HearingGate")
        self._recall = recall
        self._context = context
        self._words: dict[int, asyncio.Future[str]] = {}

    def came(self, turn: int, text: str) -> None:
        """The final words of a turn."""
        waiting = self._words.get(turn)
        if waiting is not None and not waiting.done():
            waiting.set_result(text)

    async def cleanup(self) -> None:
        """Lets go of a search with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        self._recall.close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, AnswerFrame) or not frame.is_answered:
            await self.push_frame(frame, direction)
            return
        words = await self._heard(frame.turn)
        if words == "":
            await self.push_frame(LLMFullResponseStartFrame())
            await self.push_frame(LLMFullResponseEndFrame())
            return
        if words is not None:
            await self._recall.tell()
        await self.push_frame(LLMContextFrame(self._context))

    async def _heard(self, turn: int) -> str | None:
        """The words of a turn, once the model has heard it; None when they do not come."""
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._words[turn] = waiting
        try:
            await self.push_frame(AnswerFrame(turn, is_answered=False))
            with suppress(TimeoutError):
                async with asyncio.timeout(WORDS_WITHIN_S):
                    return await waiting
            return None
        finally:
            del self._words[turn]
