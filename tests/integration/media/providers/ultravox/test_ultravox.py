"""Ultravox: the call that is made, turns that are ours although it has an ear of its own, calls that are replaced."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame, SaidFrame
from turncall_testkit.vendors import Call, Reply, pitch_hz, ultravox_fake

PROMPT = {"role": "system", "content": "You sell tea."}
FIND = FunctionSchema(name="find", description="Finds.", properties={"day": {"type": "string"}}, required=["day"])
LATE = FunctionSchema(name="late", description="Takes long.", properties={}, required=[])


async def ask(running: Any, turn: int, conversation: LLMContext, *, is_answered: bool = True) -> None:
    """A turn of the caller, of one second; its words have their place in the conversation."""
    await running.utterance()
    conversation.add_message({"role": "user", "content": ""})
    await running.send(AnswerFrame(turn, is_answered=is_answered))


async def replied(running: Any, count: int) -> None:
    await running.until(lambda: len(running.got(LLMFullResponseEndFrame)) == count)


def said(running: Any) -> list[str]:
    return [frame.text.strip() for frame in running.got(SaidFrame)]


def heard(running: Any) -> list[tuple[int, str]]:
    return [(frame.turn, frame.text) for frame in running.got(CallerWordsFrame) if frame.is_final]


def texts(fake: Any) -> list[tuple[str, str]]:
    return [(one["role"].removeprefix("MESSAGE_ROLE_"), one["text"]) for one in fake.conversation]


async def test_a_call_is_made_as_the_options_say(bench: Callable[..., Any]) -> None:
    """Every option is in what is asked for, with the past and the tools; the sound is what it was, at the phone's rate;
    and what others put into the conversation is told before the answer, and asks for none."""
    past = {"role": "assistant", "content": "Good day."}
    conversation = LLMContext(messages=[PROMPT, past], tools=ToolsSchema(standard_tools=[FIND]))
    async with ultravox_fake(tone_hz=300.0) as fake:
        given = {**fake.options("speech"), "model": "m-1", "voice": "Ann", "temperature": 0.5}
        async with bench("speech", "ultravox", given, language="de", conversation=conversation).running() as running:
            conversation.add_message({"role": "system", "content": "The caller is Ann."})
            await ask(running, 1, conversation)
            await replied(running, 1)
            (asked,) = fake.sessions
            assert (asked["model"], asked["voice"], asked["temperature"]) == ("m-1", "Ann", 0.5)
            assert (asked["languageHint"], asked["systemPrompt"]) == ("de", "You sell tea.")
            (tool,) = asked["selectedTools"]
            assert tool["temporaryTool"]["modelToolName"] == "find"
            assert [one["required"] for one in tool["temporaryTool"]["dynamicParameters"]] == [True]
            assert texts(fake)[0] == ("AGENT", "Good day.")
            assert ("USER", "<instruction>The caller is Ann.</instruction>") in texts(fake)
            sound = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
            assert len(sound) == pytest.approx(16_000, abs=20)
            assert pitch_hz(sound, 8000) == pytest.approx(300, abs=2)
            assert running.errors == []


async def test_an_answer_before_the_end_of_our_turn_is_nobodys(bench: Callable[..., Any]) -> None:
    """The caller pauses for longer than the vendor waits, and goes on: the answer to the half is never heard. A turn in
    which the vendor hears nobody has no words and no answer."""
    conversation = LLMContext(messages=[PROMPT])
    replies = [Reply(text="Too early."), Reply(text="At nine.")]
    async with ultravox_fake(replies=replies, transcripts=["When", "do you open?"]) as fake:
        line = bench("speech", "ultravox", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            fake.played_s = 60.0
            await running.utterance()
            await running.send(*(InputAudioRawFrame(bytes(320), 8000, 1) for _ in range(30)))
            await running.until(lambda: ("AGENT", "Too early.") in texts(fake))
            assert running.got(TTSAudioRawFrame) == []
            fake.played_s = 0.05
            await running.utterance()
            conversation.add_message({"role": "user", "content": ""})
            await running.send(AnswerFrame(1))
            await replied(running, 1)
            assert said(running) == ["At nine."]
            await running.send(VADUserStartedSpeakingFrame(start_secs=0.2), InputAudioRawFrame(bytes(3200), 8000, 1))
            await running.send(AnswerFrame(2))
            await replied(running, 2)
            await running.until(lambda: len(heard(running)) == 2)
            assert said(running) == ["At nine."]
            assert heard(running)[1] == (2, "")
            assert running.errors == []


async def test_a_call_is_replaced_when_it_must_be(bench: Callable[..., Any]) -> None:
    """After a turn that was only to be heard, whose answer is nobody's, and when its time is up: the next one is told
    what was said."""
    conversation = LLMContext(messages=[PROMPT])
    async with ultravox_fake(transcripts=["When do you open?"], replies=[Reply(text="At nine.")]) as fake:
        line = bench("speech", "ultravox", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            await ask(running, 1, conversation, is_answered=False)
            await running.until(lambda: len(fake.sessions) == 2)
            assert heard(running) == [(1, "When do you open?")]
            assert running.got(TTSAudioRawFrame) == []
            await running.send(LLMContextFrame(conversation))
            await replied(running, 1)
            conversation.add_message({"role": "assistant", "content": "At nine."})
            await fake.expire()
            await running.until(lambda: texts(fake) == [("USER", "When do you open?"), ("AGENT", "At nine.")])
            assert len(fake.sessions) == 3
            assert said(running) == ["At nine."]
            assert running.errors == []


async def test_a_tool_that_goes_on_by_itself_holds_nobody_up(bench: Callable[..., Any]) -> None:
    """The vendor is answered at once, and told the answer when it comes."""
    conversation = LLMContext(messages=[PROMPT], tools=ToolsSchema(standard_tools=[LATE]))
    replies = [Reply(calls=(Call(name="late"),)), Reply(text="I will see."), Reply(text="It is free.")]
    used: list[str] = []

    async def late(params: Any) -> None:
        used.append(params.tool_call_id)

    async with ultravox_fake(replies=replies) as fake:
        line = bench("speech", "ultravox", fake.options("speech"), conversation=conversation)
        line.service.register_function("late", late, cancel_on_interruption=False)
        async with line.running() as running:
            await ask(running, 1, conversation)
            await replied(running, 1)
            (call_id,) = used
            call = {"id": call_id, "type": "function", "function": {"name": "late", "arguments": "{}"}}
            conversation.add_message({"role": "assistant", "tool_calls": [call]})
            conversation.add_message({"role": "tool", "tool_call_id": call_id, "content": '{"free": true}'})
            await running.send(LLMContextFrame(conversation))
            await replied(running, 2)
            assert said(running) == ["I will see.", "It is free."]
            assert texts(fake)[-2] == ("USER", '<instruction>late has answered: {"free": true}</instruction>')
            assert running.errors == []
