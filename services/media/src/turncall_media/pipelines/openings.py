"""What a conversation does first, once audio flows: greet, go on from where another worker was cut off, or excuse
itself."""

from collections.abc import Awaitable, Callable
from typing import Final

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import FunctionCallFromLLM, InputDTMFFrame, LLMRunFrame
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService

from turncall_media.pipelines.apologies import please_repeat
from turncall_media.pipelines.speech import Speech
from turncall_media.pipelines.story import Continuation
from turncall_proto.agent import AgentSpec

Opening = Callable[[], Awaitable[None]]
_KEYPAD: Final = {key.value: key for key in KeypadEntry}


async def greet(agent: AgentSpec, speech: Speech) -> None:
    """Says the agent's first words, if it has any."""
    if agent.first_message:
        await speech.say(agent.first_message, is_kept=True)


async def go_on(
    story: Continuation,
    agent: AgentSpec,
    speech: Speech,
    worker: PipelineWorker,
    llm: FrameProcessor,
    context: LLMContext,
) -> None:
    """Does what the story asks for, in the order in which the caller is to notice it."""
    if story.greet:
        await greet(agent, speech)
    if story.keys:
        await worker.queue_frames([InputDTMFFrame(_KEYPAD[key]) for key in story.keys])
    if story.ask_again:
        await speech.say(please_repeat(agent.language), is_kept=True)
    if story.say:
        await speech.say(story.say, is_kept=True)
    if story.repeat_tools and isinstance(llm, LLMService):
        await llm.run_function_calls(
            [
                FunctionCallFromLLM(
                    function_name=call.tool,
                    tool_call_id=call.tool_call_id,
                    arguments=call.arguments,
                    context=context,
                )
                for call in story.repeat_tools
            ]
        )
    if story.run_model:
        await worker.queue_frames([LLMRunFrame()])
