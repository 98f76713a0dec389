"""The real vendors, for whoever sets their keys: TURNCALL_VENDOR_KEY_OPENAI, TURNCALL_VENDOR_KEY_DEEPGRAM… They cost
money, some cents, and need the internet; without a key each is skipped."""

import os
import wave
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from pipecat.frames.frames import (
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media import registry
from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame, SaidFrame, SayFrame
from turncall_media.vendor_table import WANT_A_MODEL
from turncall_testkit.audio import level_dbfs

RATE_HZ = 8000
HOSTED = {
    kind: [vendor for vendor in vendors if vendor not in ("local", *WANT_A_MODEL)]
    for kind, vendors in registry.catalogue().items()
}


def key_of(vendor: str) -> str:
    """The vendor's key; without one the test is skipped."""
    key = os.environ.get(f"TURNCALL_VENDOR_KEY_{vendor.upper()}", "")
    if not key:
        pytest.skip(f"TURNCALL_VENDOR_KEY_{vendor.upper()} is not set")
    return key


def caller_asks() -> list[InputAudioRawFrame]:
    """The demonstration's caller, who asks for the opening hours."""
    with wave.open(str(files("turncall.demo").joinpath("caller", "hours.wav"))) as recording:
        audio = bytes(3200) + recording.readframes(recording.getnframes()) + bytes(3200)
    return [InputAudioRawFrame(audio[start : start + 320], RATE_HZ, 1) for start in range(0, len(audio), 320)]


@pytest.mark.parametrize("vendor", HOSTED["stt"])
async def test_live_vendor_understands_a_caller(bench: Callable[..., Any], vendor: str) -> None:
    """Recorded speech over a phone's bandwidth: the word that matters is in the transcript."""
    async with bench("stt", vendor, {}, secret=key_of(vendor)).running() as running:
        await running.send(VADUserStartedSpeakingFrame(start_secs=0.2), *caller_asks())
        await running.send(VADUserStoppedSpeakingFrame(stop_secs=0.2))
        await running.first(TranscriptionFrame, within_s=15)
        assert "hours" in " ".join(frame.text for frame in running.got(TranscriptionFrame)).lower()


@pytest.mark.parametrize("vendor", HOSTED["llm"])
async def test_live_vendor_answers(bench: Callable[..., Any], vendor: str) -> None:
    """A question with one right answer."""
    question = {"role": "user", "content": "What is the capital of France? Answer with one word."}
    async with bench("llm", vendor, {}, secret=key_of(vendor)).running() as running:
        await running.send(LLMContextFrame(LLMContext(messages=[question])))
        await running.first(LLMFullResponseEndFrame, within_s=20)
        assert "paris" in "".join(frame.text for frame in running.got(LLMTextFrame)).lower()


@pytest.mark.parametrize("vendor", HOSTED["tts"])
async def test_live_vendor_speaks(bench: Callable[..., Any], vendor: str) -> None:
    """About as long as a person would take, and loud enough to be heard."""
    async with bench("tts", vendor, {}, secret=key_of(vendor)).running() as running:
        await running.send(TTSSpeakFrame("We are open from Monday to Friday, from nine to five."))
        await running.first(TTSStoppedFrame, within_s=20)
        pcm = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
        assert 2 < len(pcm) / 2 / RATE_HZ < 6
        assert level_dbfs(pcm) > -40


@pytest.mark.parametrize("vendor", HOSTED["speech"])
async def test_live_vendor_holds_a_conversation(bench: Callable[..., Any], vendor: str) -> None:
    """It says what it is told to, hears a caller, answers, and writes down what was said."""
    prompt: Any = {"role": "system", "content": "You sell tea. You are open from nine to five. Answer in one sentence."}
    conversation = LLMContext(messages=[prompt])
    line = bench("speech", vendor, {}, secret=key_of(vendor), conversation=conversation)
    async with line.running() as running:
        await running.send(SayFrame("Good day, this is the tea shop."))
        await running.first(LLMFullResponseEndFrame, within_s=20)
        assert "tea shop" in " ".join(frame.text for frame in running.got(SaidFrame)).lower()
        await running.send(*caller_asks()[:15], VADUserStartedSpeakingFrame(start_secs=0.2), *caller_asks()[15:])
        conversation.add_message({"role": "user", "content": ""})
        await running.send(VADUserStoppedSpeakingFrame(stop_secs=0.2), AnswerFrame(1))
        await running.until(lambda: len(running.got(LLMFullResponseEndFrame)) == 2, within_s=30)
        await running.until(lambda: any(one.is_final for one in running.got(CallerWordsFrame)), within_s=20)
        assert "hours" in next(one.text for one in running.got(CallerWordsFrame) if one.is_final).lower()
        pcm = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
        assert level_dbfs(pcm) > -40
        assert running.errors == []
