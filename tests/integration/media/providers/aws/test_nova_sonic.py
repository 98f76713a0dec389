"""Nova Sonic: the session that is opened, turns that are ours although it has an ear of its own, sessions that end."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.errors import VendorUnusable
from turncall_media.providers.aws import sonic
from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame, SaidFrame
from turncall_media.stages.told import Said
from turncall_testkit.vendors import Manners, Reply, bedrock_fake, nova_sonic_fake, pitch_hz

PROMPT = {"role": "system", "content": "You sell tea."}
FIND = FunctionSchema(name="find", description="Finds.", properties={"day": {"type": "string"}}, required=["day"])
KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


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
    return [(one["role"], one["text"]) for one in fake.conversation]


async def test_a_session_is_opened_as_the_options_say(bench: Callable[..., Any]) -> None:
    """Every option is in what is asked for, with instructions, tools and the past, in which the caller is first; each
    message is signed; the sound is what it was, at the phone's rate; and what others put into the conversation is told
    before the answer, in pieces that Nova takes."""
    past = {"role": "assistant", "content": "Good day."}
    conversation = LLMContext(messages=[PROMPT, past], tools=ToolsSchema(standard_tools=[FIND]))
    note = "The caller is Ann. " * 100
    async with nova_sonic_fake(tone_hz=300.0, key=KEY) as fake:
        more = {"model": "amazon.nova-2-sonic-v1:0", "voice": "tiffany", "temperature": 0.5, "max_tokens": 200}
        given = {**fake.options("speech"), **more, "region": "eu-north-1"}
        async with bench("speech", "aws", given, secret=KEY, conversation=conversation).running() as running:
            conversation.add_message({"role": "system", "content": note})
            await ask(running, 1, conversation)
            await replied(running, 1)
            (asked,) = fake.sessions
            assert asked["inferenceConfiguration"] == {"maxTokens": 200, "topP": 0.9, "temperature": 0.5}
            sound = asked["audioOutputConfiguration"]
            assert (sound["voiceId"], sound["sampleRateHertz"]) == ("tiffany", 8000)
            (tool,) = asked["toolConfiguration"]["tools"]
            assert tool["toolSpec"]["name"] == "find"
            assert fake.journal[0].name == "/model/amazon.nova-2-sonic-v1%3A0/invoke-with-bidirectional-stream"
            assert texts(fake)[:3] == [
                ("SYSTEM", "You sell tea."),
                ("USER", sonic.BEGINNING),
                ("ASSISTANT", "Good day."),
            ]
            assert ("USER", f"(Not from the caller: {note})") in texts(fake)
            spoken = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
            assert len(spoken) == pytest.approx(16_000, abs=20)
            assert pitch_hz(spoken, 8000) == pytest.approx(300, abs=2)
            assert heard(running) == [(1, "book a table for two")]
            assert running.errors == []


async def test_an_answer_before_the_end_of_our_turn_is_nobodys(bench: Callable[..., Any]) -> None:
    """The caller pauses for longer than Nova waits, and goes on: the answer to the half is never heard, and the words
    of both halves are the turn's."""
    conversation = LLMContext(messages=[PROMPT])
    replies = [Reply(text="Too early."), Reply(text="At nine.")]
    async with nova_sonic_fake(replies=replies, transcripts=["When", "do you open?"]) as fake:
        line = bench("speech", "aws", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            fake.manners = Manners(pace_s=1.0)
            await running.utterance()
            await running.send(*(InputAudioRawFrame(bytes(320), 8000, 1) for _ in range(80)))
            await running.until(lambda: ("ASSISTANT", "Too early.") in texts(fake))
            assert running.got(TTSAudioRawFrame) == []
            fake.manners = Manners()
            await ask(running, 1, conversation)
            await replied(running, 1)
            assert said(running) == ["At nine."]
            assert running.errors == []


async def test_a_session_is_replaced_when_it_must_be(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a turn that was only to be heard, whose answer is nobody's; when the server ends it; and before that, while
    nobody needs it. The next one is told what was said."""
    conversation = LLMContext(messages=[PROMPT])
    async with nova_sonic_fake(transcripts=["When do you open?"], replies=[Reply(text="At nine.")]) as fake:
        line = bench("speech", "aws", fake.options("speech"), conversation=conversation)
        async with line.running() as running:
            await ask(running, 1, conversation, is_answered=False)
            await running.until(lambda: len(fake.sessions) == 2)
            assert heard(running) == [(1, "When do you open?")]
            assert running.got(TTSAudioRawFrame) == []
            await running.send(LLMContextFrame(conversation))
            await replied(running, 1)
            conversation.add_message({"role": "assistant", "content": "At nine."})
            monkeypatch.setattr(sonic, "LONGEST_S", 0.2)
            await running.until(lambda: len(fake.sessions) == 2)
            await fake.expire()
            await running.until(lambda: len(fake.sessions) >= 4)
            known = [("SYSTEM", "You sell tea."), ("USER", "When do you open?"), ("ASSISTANT", "At nine.")]
            await running.until(lambda: texts(fake) == known)
            assert said(running) == ["At nine."]
            assert running.errors == []


async def test_a_session_that_is_refused_later_is_final(bench: Callable[..., Any]) -> None:
    """Whoever has lost the right to ask is told so once: no session is opened after it, again and again."""
    async with nova_sonic_fake() as fake:
        line = bench("speech", "aws", fake.options("speech"), conversation=LLMContext(messages=[PROMPT]))
        async with line.running() as running:
            await running.until(lambda: fake.live)
            for session in list(fake.live):
                await session.fail("accessDeniedException", "You don't have access to the model.")
            error = await running.error()
            assert "accessDeniedException" in error.error
            await running.until(lambda: not running.service.is_usable)
            assert len(fake.sessions) == 1
            assert running.got(LLMFullResponseStartFrame) == []


def test_the_agents_language_has_a_voice(build: Callable[..., Any]) -> None:
    """Where it is spoken counts if that has a voice of its own; a language that nobody speaks is refused, and so is a
    model that takes no words, and a key that opens no streams."""
    for language, voice in (("en-US", "matthew"), ("en-GB", "amy"), ("de", "lennart"), ("pt-BR", "leo")):
        assert build("speech", "aws", {}, language=language, secret=KEY)._voice == voice
    with pytest.raises(VendorUnusable, match="not fi"):
        build("speech", "aws", {}, language="fi", secret=KEY)
    with pytest.raises(VendorUnusable, match="access key"):
        build("speech", "aws", {}, secret="ABSK-only-for-text")
    with pytest.raises(ValueError, match="second generation"):
        build("speech", "aws", {"model": "amazon.nova-sonic-v1:0"}, secret=KEY)


def test_the_past_is_what_nova_takes() -> None:
    """The roles alternate, the caller begins, and of a long past the newest is kept; long texts are cut between
    letters."""
    past = [Said("assistant", "a" * 30_000), Said("assistant", "b"), Said("user", "é" * 15_000), Said("system", "c")]
    assert sonic.history(past) == [("USER", "é" * 15_000 + "\n(Not from the caller: c)")]
    assert [role for role, _ in sonic.history([Said("assistant", "Hello."), Said("user", "Hi.")])] == [
        "USER",
        "ASSISTANT",
        "USER",
    ]
    cut = sonic.parts("é" * 1200)
    assert "".join(cut) == "é" * 1200
    assert max(len(part.encode()) for part in cut) <= sonic.LARGEST_TEXT


async def test_an_access_key_signs_requests_for_text_too(bench: Callable[..., Any]) -> None:
    """A project has one key for Amazon: where it is an access key, Bedrock's text models are asked with it as well."""
    async with bedrock_fake() as fake, bench("llm", "aws", fake.options("llm"), secret=KEY).running() as running:
        await running.send(LLMContextFrame(LLMContext(messages=[{"role": "user", "content": "Hello?"}])))
        await running.first(LLMFullResponseEndFrame)
        assert fake.journal[0].key.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert running.errors == []
