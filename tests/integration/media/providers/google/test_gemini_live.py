"""Gemini Live: the session, what the model is told and when, sessions that are replaced."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    MetricsFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
)
from pipecat.metrics.metrics import LLMUsageMetricsData
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.providers.google.speech import Options
from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame, HeardUntilFrame, SaidFrame
from turncall_testkit.vendors import Call, Manners, Reply, gemini_live_fake, pitch_hz

PROMPT = {"role": "system", "content": "You sell tea."}
FIND = FunctionSchema(name="find", description="Finds.", properties={"day": {"type": "string"}}, required=["day"])


async def ask(running: Any, turn: int, conversation: LLMContext, *, is_answered: bool = True) -> None:
    """A turn of the caller, of one second; its words have their place in the conversation."""
    await running.utterance()
    conversation.add_message({"role": "user", "content": ""})
    await running.send(AnswerFrame(turn, is_answered=is_answered))


async def replied(running: Any, count: int) -> None:
    await running.until(lambda: len(running.got(LLMFullResponseEndFrame)) == count)


def sent(fake: Any, kind: str, field: str) -> list[Any]:
    return [asked for asked in fake.journal if asked.name == kind and field in asked.fields]


def texts(turns: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["parts"][0].get("text", "")) for turn in turns]


async def test_a_session_is_set_up_as_the_options_say(bench: Callable[..., Any]) -> None:
    """Every option is in what is asked for; turns are ours, the sound goes as it is and comes at the phone's rate,
    silence is not sent, and tokens are told once a reply."""
    conversation = LLMContext(messages=[PROMPT, {"role": "assistant", "content": "Good day."}])
    async with gemini_live_fake(tone_hz=300.0) as fake:
        given = {**fake.options("speech"), "model": "m-1", "voice": "Puck", "temperature": 0.5, "max_tokens": 90}
        async with bench("speech", "google", given, language="de", conversation=conversation).running() as running:
            await ask(running, 1, conversation)
            await replied(running, 1)
            (session,) = fake.sessions
            assert session["model"] == "models/m-1"
            assert session["systemInstruction"]["parts"][0]["text"] == "You sell tea."
            asked = session["generationConfig"]
            assert (asked["temperature"], asked["maxOutputTokens"]) == (0.5, 90)
            assert asked["speechConfig"]["languageCode"] == "de-DE"
            assert asked["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"] == "Puck"
            assert texts(fake.conversation[:2]) == [("model", "Good day."), ("user", "book a table for two")]
            (end,) = sent(fake, "realtimeInput", "activityEnd")
            assert len(end.audio) == pytest.approx(16_000, rel=0.01)
            heard = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
            assert len(heard) == pytest.approx(16_000, abs=20)
            assert pitch_hz(heard, 8000) == pytest.approx(300, abs=2)
            await running.until(lambda: usages(running))
            assert usages(running) == [(12, 10, 7)]
            assert running.errors == []


def usages(running: Any) -> list[tuple[Any, ...]]:
    data = [one for frame in running.got(MetricsFrame) for one in frame.data if isinstance(one, LLMUsageMetricsData)]
    told = [one.value for one in data]
    return [(one.prompt_tokens, one.input_audio_tokens, one.output_audio_tokens) for one in told]


@pytest.mark.parametrize("model", ["gemini-2.5-flash-live", "gemini-3.1-flash-live", "gemini-3.8-live-thinking"])
def test_models_of_another_kind_are_refused(model: str) -> None:
    """They forget what they were told before they hear the first word, or answer in several turns."""
    with pytest.raises(msgspec.ValidationError, match=r"3\.8"):
        msgspec.convert({"model": model}, Options)


async def test_the_model_learns_what_was_not_heard_and_what_others_say(bench: Callable[..., Any]) -> None:
    """Before it answers the next turn, once each: how much of its cut reply was heard, and what was put into the
    conversation besides."""
    conversation = LLMContext(messages=[PROMPT])
    replies = [Reply(text="We are open. Every day."), Reply(text="Yes.")]
    async with gemini_live_fake(replies=replies, speech_s=3.0) as fake:
        fake.manners = Manners(pace_s=0.03)
        line = bench("speech", "google", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            await ask(running, 1, conversation)
            await running.until(lambda: len(running.got(TTSAudioRawFrame)) >= 8)
            conversation.add_message({"role": "assistant", "content": "We are open."})
            await running.send(InterruptionFrame(), HeardUntilFrame(running.got(TTSStartedFrame)[0].context_id, 350))
            conversation.add_message({"role": "system", "content": "The caller is Ann."})
            for turn in (2, 3):
                await ask(running, turn, conversation)
                await replied(running, turn - 1)
            assert [frame.text for frame in running.got(SaidFrame)][-2:] == ["Yes.", "Yes."]
            (told,) = sent(fake, "clientContent", "turns")
            assert texts(told.fields["turns"]) == [
                (
                    "user",
                    "(Not from the caller: The caller interrupted you, and heard only this of your last reply: "
                    "We are open.)",
                ),
                ("user", "(Not from the caller: The caller is Ann.)"),
            ]
            assert len(fake.sessions) == 1
            assert running.errors == []


async def test_a_turn_that_is_only_heard_leaves_no_answer_behind(bench: Callable[..., Any]) -> None:
    """Its words come, its answer does not, and the model that is asked later believes not to have given one."""
    conversation = LLMContext(messages=[PROMPT])
    async with gemini_live_fake(transcripts=["When do you open?"], replies=[Reply(text="At nine.")]) as fake:
        line = bench("speech", "google", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            await ask(running, 1, conversation, is_answered=False)
            await running.until(lambda: [one for one in running.got(CallerWordsFrame) if one.is_final])
            await running.until(lambda: len(fake.sessions) == 2)
            assert running.got(TTSAudioRawFrame) == []
            await running.send(LLMContextFrame(conversation))
            await replied(running, 1)
            assert [frame.text for frame in running.got(SaidFrame)] == ["At nine."]
            assert texts(fake.conversation) == [("user", "When do you open?"), ("user", " "), ("model", "At nine.")]
            assert running.errors == []


async def test_a_session_is_replaced_when_it_must_be(bench: Callable[..., Any]) -> None:
    """When its time is up, or tools are found late, in a silence and without losing a word of what was said."""
    conversation = LLMContext(messages=[PROMPT])
    async with gemini_live_fake(transcripts=["one", "two"], words_after_s=0.1) as fake:
        line = bench("speech", "google", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            await ask(running, 1, conversation)
            await running.until(lambda: [one for one in running.got(CallerWordsFrame) if one.is_final])
            conversation.add_message({"role": "assistant", "content": "Hello there."})
            assert [(one.turn, one.text) for one in running.got(CallerWordsFrame) if one.is_final] == [(1, "one")]
            await fake.expire()
            await running.until(lambda: len(fake.sessions) == 2)
            conversation.set_tools(ToolsSchema(standard_tools=[FIND]))
            await ask(running, 2, conversation)
            await replied(running, 2)
            assert [len(session.get("tools", ())) for session in fake.sessions] == [0, 0, 1]
            declared = fake.sessions[2]["tools"][0]["functionDeclarations"]
            assert [(one["name"], one["behavior"]) for one in declared] == [("find", "BLOCKING")]
            assert texts(fake.conversation)[:3] == [("user", "one"), ("model", "Hello there."), ("user", "two")]
            assert running.errors == []


async def test_a_tool_that_goes_on_by_itself_holds_nobody_up(bench: Callable[..., Any]) -> None:
    """The model talks on, and speaks of the answer when it comes."""
    conversation = LLMContext(messages=[PROMPT], tools=ToolsSchema(standard_tools=[FIND]))
    replies = [Reply(calls=(Call(name="find", arguments={"day": "monday"}),)), Reply(text="It is free.")]
    async with gemini_live_fake(replies=replies) as fake:
        line = bench("speech", "google", fake.options("speech"), conversation=conversation)
        used: list[Any] = []

        async def find(params: Any) -> None:
            used.append(params.tool_call_id)

        line.service.register_function("find", find, cancel_on_interruption=False)
        async with line.running() as running:
            await ask(running, 1, conversation)
            await replied(running, 1)
            await running.until(lambda: used)
            (call_id,) = used
            call = {"id": call_id, "type": "function", "function": {"name": "find", "arguments": "{}"}}
            conversation.add_message({"role": "assistant", "tool_calls": [call]})
            conversation.add_message({"role": "tool", "tool_call_id": call_id, "content": '{"free": true}'})
            await running.send(LLMContextFrame(conversation))
            await replied(running, 2)
            (answer,) = sent(fake, "toolResponse", "functionResponses")
            (response,) = answer.fields["functionResponses"]
            assert (response["id"], response["scheduling"]) == (call_id, "WHEN_IDLE")
            assert [frame.text for frame in running.got(SaidFrame)] == ["It is free."]
            assert running.errors == []
