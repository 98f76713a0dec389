"""What a conversation does first, once audio flows: greet, go on from where another worker was cut off, or excuse
itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import FunctionCallFromLLM, InputDTMFFrame, LLMRunFrame
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService

from turncall_media.pipelines.apologies import please_repeat
from turncall_media.pipelines.consent import Answer
from turncall_media.pipelines.speech import Speech
from turncall_media.pipelines.story import Continuation
from turncall_media.report.events import Narrator
from turncall_proto.agent import AgentSpec

Opening = Callable[[], Awaitable[None]]
_NOTICED_S: Final = 0.5
"""In which the voice of a caller who goes on speaking is noticed."""
_WORDS_S: Final = 0.4
"""Behind the agent's silence timeout: for the words of what was still heard of the caller to come and open a turn."""
_ASKED_WITHIN_S: Final = 10.0
"""A line whose noise passes for a voice is not waited for."""
_LOOK_AGAIN_S: Final = 0.05
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
    llm: FrameProcessor | None,
    context: LLMContext,
    narrator: Narrator,
    is_cut_off: Callable[[], bool],
) -> None:
    """Does what the story asks for, in the order in which the caller is to notice it.

    ``is_cut_off`` says whether the caller was in the middle of a sentence, known within `_NOTICED_S`.
    """
    if story.greet:
        await greet(agent, speech)
    if story.keys:
        await worker.queue_frames([InputDTMFFrame(_KEYPAD[key]) for key in story.keys])
    if story.is_listening:
        await asyncio.sleep(_NOTICED_S)
    if story.ask_again or (story.is_listening and is_cut_off()):
        await _ask_again(agent, speech, narrator)
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


def after_consent(story: Continuation, answer: Answer | None) -> Continuation:
    """What is done once the question about the recording is over, with which a call begins.

    Whoever said something else than yes or no is answered by the model; everybody else is greeted.
    """
    return Continuation(
        greet=answer != "unclear", run_model=answer == "unclear", turn=story.turn, answered_at=story.answered_at
    )


async def _ask_again(agent: AgentSpec, speech: Speech, narrator: Narrator) -> None:
    """Has the caller say it again: a caller who was cut off is still speaking, and would only speak over the request.

    Not asked if they said it again by themselves: the model replies to that.
    """
    loop = asyncio.get_running_loop()
    turn, began_s = narrator.turn, loop.time()
    silent_since_s, patience_s = began_s, _NOTICED_S
    while loop.time() - silent_since_s < patience_s and loop.time() - began_s < _ASKED_WITHIN_S:
        if narrator.is_caller_speaking:
            silent_since_s = loop.time()
            patience_s = agent.turn_taking.silence_timeout_ms / 1000 + _WORDS_S
        await asyncio.sleep(_LOOK_AGAIN_S)
        if narrator.turn > turn:
            return
    await speech.say(please_repeat(agent.language), is_kept=True)
