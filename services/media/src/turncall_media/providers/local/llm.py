"""A script behind the interface of a language model: streams text, calls tools, needs no key and no network."""

import asyncio
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, json
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService

from turncall_media.errors import VendorUnusable
from turncall_media.providers.local.dialogue import Reply, reply, unknown_places
from turncall_media.providers.local.grammar import KEPT
from turncall_media.providers.local.script import Script, expected_phrases
from turncall_media.providers.local.words import words
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.settings import name_alone

CAPABILITIES = Capabilities(needs_secret=False)


DelayMs = Annotated[int, Meta(ge=0, le=10_000, description="Before the first word, as a model would think.")]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The script, and how fast it is played."""

    script: Script
    delay_ms: DelayMs = 0
    words_per_s: Annotated[
        float, Meta(ge=0, le=1000, description="How fast words stream; 0 streams them all at once.")
    ] = 0


REHEARSAL: Final = {"script": {"intents": [{"name": "hello", "hears": ["hello"], "says": "Hello."}]}}
"""Options for a call that nobody hears: a script has no default."""


def build(options: Options, context: BuildContext) -> LLMService[Any]:
    """Plays the script. Raises `VendorUnusable` when a line refers to something that nothing fills."""
    check(options.script)
    return ScriptedLLMService(options)


def expects(options: Options) -> Sequence[str]:
    """Every utterance that the script was written for, for a recogniser to listen for."""
    return _expected(json.encode(options.script))


@lru_cache(maxsize=KEPT)
def _expected(script: bytes) -> tuple[str, ...]:
    """By the script as JSON, since scripts hold mappings: all calls of an agent listen for the same phrases."""
    return expected_phrases(json.decode(script, type=Script))


class ScriptedLLMService(LLMService[Any]):
    """Answers from the messages alone, so a conversation can go on in another process. The prompt changes nothing."""

    def __init__(self, options: Options) -> None:
        super().__init__(settings=name_alone("script"))
        self._options = options

    def can_generate_metrics(self) -> bool:
        """True: words as tokens, and the time to the first."""
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answers a context; hands everything else on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await self.start_processing_metrics()
        try:
            await self._answer(frame.context)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    async def _answer(self, context: LLMContext) -> None:
        messages: list[Any] = context.get_messages()
        await self.start_ttfb_metrics()
        await asyncio.sleep(self._options.delay_ms / 1000)
        answer = reply(self._options.script, messages)
        await self.stop_ttfb_metrics()
        pause_s = 1 / self._options.words_per_s if self._options.words_per_s else 0
        for word in answer.text.split():
            await self._push_llm_text(f"{word} ")
            if pause_s:
                await asyncio.sleep(pause_s)
        await self.start_llm_usage_metrics(usage(messages, answer))
        await self.run_function_calls(function_calls(answer, context))


def check(script: Script) -> None:
    """Raises `VendorUnusable` when a line refers to something that nothing fills."""
    unknown = unknown_places(script)
    if unknown:
        raise VendorUnusable(f"the script refers to what it does not ask for: {', '.join(unknown)}")


def function_calls(answer: Reply, context: LLMContext) -> list[FunctionCallFromLLM]:
    """What the answer does beside what it says, each call under an id of its own."""
    return [
        FunctionCallFromLLM(
            function_name=call.tool,
            tool_call_id=f"call_{uuid.uuid4().hex}",
            arguments=call.arguments,
            context=context,
        )
        for call in answer.calls
    ]


def usage(messages: Sequence[Any], answer: Reply) -> LLMTokenUsage:
    """Words in the place of tokens: of all messages read, and of the answer."""
    read = sum(len(words(str(message.get("content") or ""))) for message in messages if isinstance(message, dict))
    said = len(words(answer.text)) + sum(1 + len(call.arguments) for call in answer.calls)
    return LLMTokenUsage(prompt_tokens=read, completion_tokens=said, total_tokens=read + said)
