"""OpenAI's Realtime API: the session, how sound travels, what the model is told, sessions that are lost."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import (
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    MetricsFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame, HeardUntilFrame, SaidFrame, SayFrame
from turncall_testkit.vendors import Manners, Reply, pitch_hz, realtime_fake

PROMPT = {"role": "system", "content": "You sell tea."}


async def ask(running: Any, turn: int) -> None:
    """A turn of the caller, of one second."""
    await running.utterance()
    await running.send(AnswerFrame(turn))


async def replied(running: Any, count: int) -> None:
    await running.until(lambda: len(running.got(LLMFullResponseEndFrame)) == count)


def sent(fake: Any, kind: str) -> list[Any]:
    return [asked for asked in fake.journal if asked.name == kind]


@pytest.mark.parametrize(
    ("options", "sound", "bytes_per_s"),
    [
        ({}, {"type": "audio/pcmu"}, 8000),
        ({"sound": "pcm", "noise_reduction": "near_field"}, {"type": "audio/pcm", "rate": 24_000}, 48_000),
    ],
)
async def test_a_session_is_set_up_as_the_options_say(
    bench: Callable[..., Any], options: dict[str, Any], sound: dict[str, Any], bytes_per_s: int
) -> None:
    """Every option is in what is asked for; sound goes to the API and comes back as what it was, whatever travels."""
    more = {"voice": "cedar", "transcription_model": "whisper-2", "speed": 1.25, "max_tokens": 90}
    conversation = LLMContext(messages=[PROMPT])
    async with realtime_fake(tone_hz=300.0) as fake:
        given = {**fake.options("speech"), **more, **options}
        async with bench("speech", "openai", given, language="de", conversation=conversation).running() as running:
            await ask(running, 1)
            await replied(running, 1)
            (session,) = fake.sessions
            assert session["instructions"] == "You sell tea."
            assert session["max_output_tokens"] == 90
            hearing, voice = session["audio"]["input"], session["audio"]["output"]
            assert hearing["format"] == voice["format"] == sound
            assert hearing["transcription"] == {"model": "whisper-2", "language": "de"}
            assert hearing["noise_reduction"] == ({"type": "near_field"} if options else None)
            assert hearing["turn_detection"] is None
            assert (voice["voice"], voice["speed"]) == ("cedar", 1.25)
            (commit,) = sent(fake, "input_audio_buffer.commit")
            assert len(commit.audio) == pytest.approx(bytes_per_s, rel=0.01)
            heard = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
            assert len(heard) == pytest.approx(16_000, abs=20)
            assert pitch_hz(heard, 8000) == pytest.approx(300, abs=2)
            assert running.errors == []


async def test_silence_is_not_sent_and_usage_is_told(bench: Callable[..., Any]) -> None:
    """Between turns nothing goes to the API but what lies just before a voice."""
    async with realtime_fake() as fake, bench("speech", "openai", fake.options("speech")).running() as running:
        await ask(running, 1)
        await replied(running, 1)
        count = len([asked for asked in fake.journal if asked.name == "input_audio_buffer.commit"])
        assert count == 1
        usages = [one.value for frame in running.got(MetricsFrame) for one in frame.data if hasattr(one, "value")]
        told = [usage for usage in usages if getattr(usage, "input_audio_tokens", None)]
        assert [(one.prompt_tokens, one.input_audio_tokens, one.output_audio_tokens) for one in told] == [(120, 20, 40)]


async def test_what_was_not_heard_is_forgotten(bench: Callable[..., Any]) -> None:
    """The item is cut where the caller stopped listening; a line apart from the conversation has nothing to cut."""
    async with realtime_fake(speech_s=3.0) as fake:
        fake.manners = Manners(pace_s=0.03)
        async with bench("speech", "openai", fake.options("speech")).running() as running:
            await ask(running, 1)
            await running.until(lambda: len(running.got(TTSAudioRawFrame)) >= 8)
            await running.send(InterruptionFrame(), HeardUntilFrame(running.got(TTSStartedFrame)[0].context_id, 350))
            await running.until(lambda: fake.truncated)
            assert list(fake.truncated.values()) == [350]
            assert sent(fake, "response.cancel")
            await running.send(SayFrame("One moment.", is_kept=False))
            await replied(running, 1)
            (line,) = [asked for asked in sent(fake, "response.create") if asked.fields["response"]]
            assert (line.fields["response"]["conversation"], line.fields["response"]["input"]) == ("none", [])
            assert running.errors == []


async def test_news_of_the_conversation_reach_the_model_before_it_answers(bench: Callable[..., Any]) -> None:
    """What others put into the conversation is told once; what the model heard and said itself is not."""
    conversation = LLMContext(messages=[PROMPT, {"role": "assistant", "content": "Good day."}])
    async with realtime_fake() as fake:
        line = bench("speech", "openai", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            conversation.add_message({"role": "system", "content": "The caller is Ann."})
            for turn in (1, 2):
                conversation.add_message({"role": "user", "content": ""})
                await ask(running, turn)
                await replied(running, turn)
                conversation.add_message({"role": "assistant", "content": "Hello there."})
            conversation.add_message({"role": "user", "content": "DTMF: 4#"})
            await running.send(LLMContextFrame(conversation))
            await replied(running, 3)
            told = [asked.fields["item"] for asked in sent(fake, "conversation.item.create")]
            assert [(item["role"], item["content"][0]["text"]) for item in told] == [
                ("assistant", "Good day."),
                ("system", "The caller is Ann."),
                ("user", "DTMF: 4#"),
            ]
            assert running.errors == []


async def test_a_session_that_expires_goes_on_in_a_new_one(bench: Callable[..., Any]) -> None:
    """After its hour, unnoticed: the new session is told what was said, and the next turn is answered."""
    conversation = LLMContext(messages=[PROMPT])
    async with realtime_fake() as fake:
        line = bench("speech", "openai", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            await ask(running, 1)
            await replied(running, 1)
            conversation.add_message({"role": "assistant", "content": "Hello there."})
            await fake.expire()
            await running.until(lambda: len(fake.sessions) == 2)
            await ask(running, 2)
            await replied(running, 2)
            first = [item["content"][0].get("text") for item in fake.conversation[:2]]
            assert first == ["book a table for two", "Hello there."]
            assert [frame.turn for frame in running.got(CallerWordsFrame) if frame.is_final] == [1, 2]
            assert running.errors == []


async def test_a_turn_whose_session_breaks_before_the_answer_is_asked_again(bench: Callable[..., Any]) -> None:
    """The caller says it once: the new session gets the sound of the turn."""
    async with realtime_fake(replies=[Reply(text="Here I am.")]) as fake:
        line = bench("speech", "openai", {**fake.options("speech"), "timeout_ms": 3000})
        async with line.running() as running:
            fake.manners = Manners(first_byte_after_s=0.3)
            await ask(running, 1)
            await running.until(lambda: sent(fake, "response.create"))
            await fake.expire()
            await replied(running, 1)
            first, second = sent(fake, "input_audio_buffer.commit")
            assert len(second.audio) == pytest.approx(len(first.audio), rel=0.1)
            assert [frame.text for frame in running.got(SaidFrame)] == ["Here I am."]
            assert running.errors == []


async def test_words_of_a_turn_may_come_behind_its_answer(bench: Callable[..., Any]) -> None:
    """They carry the number of their turn."""
    async with realtime_fake(transcripts=["first", "second"], words_after_s=0.3) as fake:
        line = bench("speech", "openai", fake.options("speech"))
        async with line.running() as running:
            for turn in (1, 2):
                await ask(running, turn)
                await replied(running, turn)
            await running.until(lambda: len([one for one in running.got(CallerWordsFrame) if one.is_final]) == 2)
            final = [(one.turn, one.text) for one in running.got(CallerWordsFrame) if one.is_final]
            assert final == [(1, "first"), (2, "second")]
            assert running.got(VADUserStartedSpeakingFrame)
