"""The keyless vendors in a pipeline at a phone's rate."""

import asyncio
import json
import time
import wave
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.errors import VendorUnusable
from turncall_media.providers.local.grammar import grammar
from turncall_media.providers.local.recogniser import recogniser
from turncall_testkit.audio import level_dbfs

RATE_HZ = 8000
PHRASES = ("I would like to book an appointment", "on Tuesday", "at ten o'clock", "what are your opening hours")
SCRIPT = {
    "intents": [
        {"name": "hours", "hears": ["when are you open"], "says": "From nine to five, every day."},
        {
            "name": "book",
            "hears": ["book"],
            "calls": {"tool": "book_it", "arguments": {"day": "mon"}},
            "says": "Number {{result.number}}.",
        },
    ]
}


def recorded(name: str) -> bytes:
    """One of the demonstration's recordings: mono s16le at 8 kHz."""
    with wave.open(str(files("turncall.demo").joinpath("caller", f"{name}.wav"))) as audio:
        pcm: bytes = audio.readframes(audio.getnframes())
        return pcm


async def speak(bench: Any, pcm: bytes) -> None:
    """A caller's utterance, framed and bounded as the voice detector does it: it is sure after 200 ms of speech, and
    after 200 ms of silence."""
    silence = bytes(2 * RATE_HZ // 5)
    audio = silence + pcm + silence
    frames = [InputAudioRawFrame(audio[start : start + 320], RATE_HZ, 1) for start in range(0, len(audio), 320)]
    await bench.send(*frames[:20])
    await bench.send(VADUserStartedSpeakingFrame(start_secs=0.2), *frames[20:])
    await bench.send(VADUserStoppedSpeakingFrame(stop_secs=0.2))


def transcripts(bench: Any) -> list[str]:
    return [frame.text for frame in bench.got(TranscriptionFrame)]


async def test_expected_phrases_are_understood_over_a_phone(bench: Callable[..., Any]) -> None:
    """Recorded speech becomes one final transcript for each utterance, in order."""
    async with bench("stt", "local", {}, expected_phrases=PHRASES).running() as running:
        for name in ("book", "day", "time", "hours"):
            await speak(running, recorded(name))
        await running.until(lambda: len(transcripts(running)) == 4)
        assert transcripts(running) == [phrase.lower() for phrase in PHRASES]
        assert all(frame.finalized for frame in running.got(TranscriptionFrame))


async def test_a_word_outside_the_dictionary_is_understood(
    bench: Callable[..., Any], speech: Callable[..., bytes]
) -> None:
    """Its pronunciation is made up, where the recogniser would refuse the whole grammar."""
    options = {"phrases": ["I have a toothache", "I want a manicure", "goodbye"]}
    async with bench("stt", "local", options).running() as running:
        await speak(running, speech("I have a toothache", voice="en-us+klatt4", words_per_minute=150))
        assert (await running.first(TranscriptionFrame)).text == "i have a toothache"


@pytest.mark.parametrize("sound", ["silence", "noise", "tone", "another recording"])
async def test_what_was_not_expected_makes_no_transcript(bench: Callable[..., Any], sound: str) -> None:
    """Silence, noise, a tone and other words are passed over; the next phrase is understood."""
    second = np.arange(2 * RATE_HZ)
    heard = {
        "silence": bytes(4 * RATE_HZ),
        "noise": np.random.default_rng(1).normal(0, 400, 2 * RATE_HZ).astype("<i2").tobytes(),
        "tone": (6000 * np.sin(second * 2 * np.pi * 440 / RATE_HZ)).astype("<i2").tobytes(),
        "another recording": recorded("hours"),
    }[sound]
    async with bench("stt", "local", {"phrases": ["on Tuesday", "at ten o'clock"]}).running() as running:
        await speak(running, heard)
        await speak(running, recorded("day"))
        await running.until(lambda: transcripts(running))
        assert transcripts(running) == ["on tuesday"]


async def test_a_stricter_score_understands_less(bench: Callable[..., Any]) -> None:
    """`least_score` decides what counts as understood."""
    async with bench("stt", "local", {"phrases": list(PHRASES), "least_score": -0.5}).running() as running:
        await speak(running, recorded("book"))
        await asyncio.sleep(0.5)
        assert transcripts(running) == []


async def test_decoding_leaves_the_loop_alone() -> None:
    """Twenty callers who stop at once are decoded for seconds, and the event loop goes on in between."""
    expected = grammar(PHRASES)
    pcm = recorded("book")
    await asyncio.to_thread(recogniser().prepare, expected)
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    watcher = asyncio.create_task(watch())
    heard = await asyncio.gather(
        *(asyncio.to_thread(recogniser().hear, pcm, RATE_HZ, expected, -5.5) for _ in range(20))
    )
    watcher.cancel()
    assert set(heard) == {PHRASES[0].lower()}
    assert turns > 20, "not once a decoding"


def test_callers_do_not_hear_one_another() -> None:
    """The same sound gives the same score whatever was decoded before, so calls cannot influence calls."""
    expected = grammar(PHRASES)
    quiet = (np.frombuffer(recorded("day"), dtype="<i2") // 20).astype("<i2").tobytes()
    first = [recogniser().hear(recorded("time"), RATE_HZ, expected, limit) for limit in (-3.9, -4.0, -4.1, -4.2)]
    for _ in range(3):
        recogniser().hear(quiet, RATE_HZ, expected, -20)
        recogniser().hear(recorded("book"), RATE_HZ, grammar(["book an appointment"]), -20)
    assert [
        recogniser().hear(recorded("time"), RATE_HZ, expected, limit) for limit in (-3.9, -4.0, -4.1, -4.2)
    ] == first


@pytest.mark.parametrize(
    ("options", "context", "reason"),
    [
        ({}, {}, "only phrases that it expects"),
        ({"phrases": ["hallo"]}, {"language": "de-DE"}, "English only"),
        ({"phrases": ["hello"]}, {"rate_hz": 44_100}, "8000 or 16000"),
    ],
)
def test_a_recogniser_that_could_not_understand_is_refused(
    build: Callable[..., Any], options: dict[str, Any], context: dict[str, Any], reason: str
) -> None:
    """The call fails at once with a reason, instead of an agent that never hears anything."""
    with pytest.raises(VendorUnusable, match=reason):
        build("stt", "local", options, **context)


async def test_speech_has_its_length_and_comes_in_small_frames(bench: Callable[..., Any]) -> None:
    """Two seconds of speech at the phone's rate, in frames of 100 ms at most, and then the end of it."""
    async with bench("tts", "local", {}).running() as running:
        await running.send(TTSSpeakFrame("Good morning. How can I help you today?"))
        await running.first(TTSStoppedFrame)
        audio = running.got(TTSAudioRawFrame)
        assert {(frame.sample_rate, frame.num_channels) for frame in audio} == {(RATE_HZ, 1)}
        assert max(len(frame.audio) for frame in audio) == 2 * RATE_HZ // 10
        assert 1.5 < sum(len(frame.audio) for frame in audio) / 2 / RATE_HZ < 4
        assert -30 < level_dbfs(b"".join(frame.audio for frame in audio)) < -10


@pytest.mark.parametrize(("option", "slower"), [({"words_per_minute": 90}, 1.5), ({"words_per_minute": 300}, 0.75)])
async def test_the_voice_speaks_as_fast_as_asked(
    bench: Callable[..., Any], option: dict[str, int], slower: float
) -> None:
    """Words per minute change how long a sentence takes."""

    async def seconds(options: dict[str, int]) -> float:
        async with bench("tts", "local", options).running() as running:
            await running.send(TTSSpeakFrame("We are open from nine to five, from Monday to Friday."))
            await running.first(TTSStoppedFrame)
            return sum(len(frame.audio) for frame in running.got(TTSAudioRawFrame)) / 2 / RATE_HZ

    ratio = await seconds(option) / await seconds({})
    assert ratio > slower if slower > 1 else ratio < slower


@pytest.mark.parametrize(("options", "language"), [({"voice": "xx-none"}, "en-US"), ({}, "zu")])
def test_a_voice_that_does_not_exist_is_refused(
    build: Callable[..., Any], options: dict[str, Any], language: str
) -> None:
    """Before the call, not in the middle of it."""
    with pytest.raises(VendorUnusable, match="voice"):
        build("tts", "local", options, language=language)


def user(text: str) -> LLMContextFrame:
    return LLMContextFrame(LLMContext(messages=[{"role": "user", "content": text}]))


async def test_a_script_streams_its_answer(bench: Callable[..., Any]) -> None:
    """Start, words one by one, end."""
    async with bench("llm", "local", {"script": SCRIPT}).running() as running:
        await running.send(user("When are you open?"))
        await running.first(LLMFullResponseEndFrame)
        assert len(running.got(LLMFullResponseStartFrame)) == 1
        words = [frame.text for frame in running.got(LLMTextFrame)]
        assert len(words) == 6
        assert "".join(words).strip() == "From nine to five, every day."


async def test_a_script_calls_a_tool_as_a_model_does(bench: Callable[..., Any]) -> None:
    """The registered function runs with the script's arguments, and its result is in the frames."""
    line = bench("llm", "local", {"script": SCRIPT})
    asked: list[dict[str, Any]] = []

    async def book(params: Any) -> None:
        asked.append(dict(params.arguments))
        await params.result_callback({"number": 3})

    line.service.register_function("book_it", book)
    async with line.running() as running:
        await running.send(user("book"))
        result = await running.first(FunctionCallResultFrame)
        assert asked == [{"day": "mon"}]
        assert json.loads(json.dumps(result.result)) == {"number": 3}
        assert (await running.first(FunctionCallInProgressFrame)).tool_call_id == result.tool_call_id


async def test_a_script_thinks_and_speaks_as_slowly_as_asked(bench: Callable[..., Any]) -> None:
    """`delay_ms` comes before the first word, `words_per_s` paces the rest."""
    async with bench("llm", "local", {"script": SCRIPT, "delay_ms": 150, "words_per_s": 50}).running() as running:
        began = time.perf_counter()
        await running.send(user("when are you open"))
        await running.first(LLMTextFrame)
        first = time.perf_counter() - began
        await running.first(LLMFullResponseEndFrame)
        assert first >= 0.15
        assert time.perf_counter() - began >= 0.15 + 5 / 50


def test_a_script_with_a_misspelt_place_is_refused(build: Callable[..., Any]) -> None:
    """Nobody hears half a sentence because a name was misspelt."""
    script = {"intents": [{"name": "a", "hears": ["a"], "says": "On {{dya}}."}]}
    with pytest.raises(VendorUnusable, match="a: dya"):
        build("llm", "local", {"script": script})


@pytest.fixture
def speech() -> Callable[..., bytes]:
    """``speech(text, voice, words_per_minute)``: a synthetic caller, mono s16le at 8 kHz."""
    from turncall_media.providers.local.espeak import Voice
    from turncall_media.providers.local.tts import synthesise

    return lambda text, voice, words_per_minute: synthesise(
        text, Voice(name=voice, words_per_minute=words_per_minute), RATE_HZ
    )
