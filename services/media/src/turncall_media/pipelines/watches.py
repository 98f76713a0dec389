"""What an agent does about the passing of time: it asks a silent caller, and warns before a call ends for its length.

Both remember what an earlier worker of the call has said already: ``messages`` are those of the conversation so far.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from turncall_media.pipelines.apologies import still_there
from turncall_media.pipelines.quiet import quiet
from turncall_media.pipelines.speech import Speech
from turncall_media.pipelines.story import Message
from turncall_media.report.events import Narrator
from turncall_proto.agent import AgentSpec
from turncall_proto.call import EndedReason

_LOOK_AGAIN_S: Final = 0.05


async def ask_when_idle(
    agent: AgentSpec,
    messages: Sequence[Message],
    speech: Speech,
    narrator: Narrator,
    end: Callable[[EndedReason], None],
) -> None:
    """Asks after each ``idle_timeout_s`` of silence; when all was asked and nothing was said, ends the call.

    Never returns before that; with a timeout of 0 it returns at once. Words of the caller make it begin again.
    """
    for_s = agent.turn_taking.idle_timeout_s
    if not for_s:
        return
    prompts = agent.turn_taking.idle_prompts or (still_there(agent.language),)
    turn, asked = narrator.turn, asked_last(messages, prompts)
    while True:
        await quiet(speech, narrator, for_s)
        if speech.is_muted:
            await asyncio.sleep(_LOOK_AGAIN_S)
            continue
        if narrator.turn != turn:
            turn, asked = narrator.turn, 0
        if asked >= len(prompts):
            end(EndedReason.CUSTOMER_SILENT)
            return
        await speech.say(prompts[asked], is_kept=True)
        asked += 1


def asked_last(messages: Sequence[Message], prompts: Sequence[str]) -> int:
    """How many of ``prompts`` the agent has said since anything else was said or done."""
    asked = 0
    for message in reversed(messages):
        if message["role"] != "assistant" or message.get("content") not in prompts:
            break
        asked += 1
    return asked


async def warn_of_the_end(
    agent: AgentSpec, messages: Sequence[Message], lasts_s: float, speech: Speech, narrator: Narrator
) -> None:
    """Says the agent's warning ``max_duration_warning_s`` before ``lasts_s`` from here have passed, once in a call.

    Waits for a pause in the conversation, but no longer than half of the time that is left.
    """
    warning = agent.max_duration_warning
    if not warning or any(warning in str(message.get("content")) for message in messages):
        return
    left_s = min(agent.max_duration_warning_s, lasts_s)
    await asyncio.sleep(lasts_s - left_s)
    with suppress(TimeoutError):  # said into the conversation then
        async with asyncio.timeout(left_s / 2):
            await quiet(speech, narrator)
    await speech.say(warning, is_kept=True)
