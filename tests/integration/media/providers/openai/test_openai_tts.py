"""Speech behind OpenAI's protocol, which comes at 24 kHz and goes to a phone."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import InterruptionFrame, TTSAudioRawFrame, TTSSpeakFrame, TTSStoppedFrame

from turncall_testkit.vendors import Manners, openai_fake, pitch_hz


def spoken(running: Any) -> bytes:
    """All the audio so far."""
    return b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))


@pytest.mark.parametrize("tone_hz", [440.0, 3000.0])
async def test_speech_keeps_its_length_and_its_pitch(bench: Callable[..., Any], tone_hz: float) -> None:
    """One second at 24 kHz is one second at 8 kHz and sounds the same; every frame says its true rate."""
    async with (
        openai_fake(tone_hz=tone_hz, speech_s=1.0) as fake,
        bench("tts", "openai", fake.options("tts")).running() as running,
    ):
        await running.send(TTSSpeakFrame("Hello there."))
        await running.first(TTSStoppedFrame)
    audio = spoken(running)
    assert {(frame.sample_rate, frame.num_channels) for frame in running.got(TTSAudioRawFrame)} == {(8000, 1)}
    assert len(audio) / 16_000 == pytest.approx(1.0, abs=0.001)
    assert pitch_hz(audio, 8000) == pytest.approx(tone_hz, abs=2)
    assert running.errors == []


async def test_nothing_above_the_phones_band_folds_back(bench: Callable[..., Any]) -> None:
    """A hiss at 6 kHz is silence at 8 kHz, not a whistle at 2 kHz."""
    async with openai_fake(tone_hz=6000) as fake, bench("tts", "openai", fake.options("tts")).running() as running:
        await running.send(TTSSpeakFrame("Hiss."))
        await running.first(TTSStoppedFrame)
    inner = memoryview(spoken(running)).cast("h")[400:-400]
    assert len(inner) > 7000
    assert max(abs(sample) for sample in inner) < 80


async def test_speech_begins_before_it_is_complete(bench: Callable[..., Any]) -> None:
    """The first audio is out while the server still makes the rest."""
    async with openai_fake(speech_s=1.0) as fake, bench("tts", "openai", fake.options("tts")).running() as running:
        fake.manners = Manners(pace_s=0.03)  # 25 ms of speech each 30 ms
        await running.send(TTSSpeakFrame("Hello there."))
        await running.first(TTSAudioRawFrame, 1)
        assert len(spoken(running)) < 16_000 * 0.2
        assert running.got(TTSStoppedFrame) == []


async def test_a_frame_is_short(bench: Callable[..., Any]) -> None:
    """No frame is longer than a tenth of a second, however much arrives at once."""
    async with openai_fake(speech_s=2.0) as fake, bench("tts", "openai", fake.options("tts")).running() as running:
        await running.send(TTSSpeakFrame("Hello there."))
        await running.first(TTSStoppedFrame)
    assert max(len(frame.audio) for frame in running.got(TTSAudioRawFrame)) <= 1600


async def test_another_rate_is_believed(bench: Callable[..., Any]) -> None:
    """A server that gives 48 kHz, said so, sounds right."""
    # The fake's 24,000 samples a second, read as 48,000: half as long, twice as high.
    async with (
        openai_fake(tone_hz=200, speech_s=1.0) as fake,
        bench("tts", "openai", {**fake.options("tts"), "pcm_rate_hz": 48_000}).running() as running,
    ):
        await running.send(TTSSpeakFrame("Hello there."))
        await running.first(TTSStoppedFrame)
    assert len(spoken(running)) / 16_000 == pytest.approx(0.5, abs=0.001)
    assert pitch_hz(spoken(running), 8000) == pytest.approx(400, abs=4)


async def test_options_reach_the_server(bench: Callable[..., Any]) -> None:
    """Any voice of a server of one's own, its model, instructions and speed."""
    async with openai_fake() as fake:
        options = {"voice": "af_heart", "model": "kokoro", "instructions": "Slowly.", "speed": 0.8}
        async with bench("tts", "openai", {**fake.options("tts"), **options}).running() as running:
            await running.send(TTSSpeakFrame("Hello there."))
            await running.first(TTSStoppedFrame)
    fields = fake.journal[0].fields
    assert {name: fields[name] for name in options} == options
    assert fields["input"].strip() == "Hello there."


async def test_an_interruption_ends_the_request(bench: Callable[..., Any]) -> None:
    """Speech that nobody will hear is not fetched to its end, and the next sentence is spoken."""
    async with openai_fake(speech_s=10) as fake, bench("tts", "openai", fake.options("tts")).running() as running:
        fake.manners = Manners(pace_s=0.02)
        await running.send(TTSSpeakFrame("A long story."))
        await running.first(TTSAudioRawFrame)
        await running.send(InterruptionFrame())
        await asyncio.sleep(0.1)
        heard = len(spoken(running))
        await asyncio.sleep(0.2)
        assert len(spoken(running)) == heard
        fake.manners = Manners()
        await running.send(TTSSpeakFrame("Sorry?"))
        await running.until(lambda: len(spoken(running)) > heard)


async def test_a_refused_key_is_final(bench: Callable[..., Any]) -> None:
    """After a 401 nothing more is sent in this call."""
    async with openai_fake(key="another") as fake, bench("tts", "openai", fake.options("tts")).running() as running:
        await running.send(TTSSpeakFrame("Hello there."))
        assert (await running.error(2)).category.is_permanent
        await running.send(TTSSpeakFrame("Hello?"))
        await asyncio.sleep(0.1)
    assert len(fake.journal) == 1


@pytest.mark.parametrize("fault", ["fail", "stall", "break", "cut"])
async def test_a_failure_is_told_in_time(bench: Callable[..., Any], fault: Any) -> None:
    """The sentence is lost with an error that may pass, and holds the next one up by no more than that."""
    async with openai_fake() as fake, bench("tts", "openai", fake.options("tts")).running() as running:
        fake.manners = Manners(fault=fault)
        await running.send(TTSSpeakFrame("Hello there."))
        error = await running.error(2)
        assert not error.category.is_permanent
        fake.manners = Manners()
        before = len(spoken(running))
        await running.send(TTSSpeakFrame("Hello again."))
        await running.until(lambda: len(spoken(running)) - before >= 16_000, 2)
        assert running.service.is_usable


async def test_connections_end_with_the_pipeline(bench: Callable[..., Any]) -> None:
    """The client is closed when the call is over."""
    async with openai_fake() as fake, bench("tts", "openai", fake.options("tts")).running() as running:
        await running.send(TTSSpeakFrame("Hello there."))
        await running.first(TTSAudioRawFrame)
    assert running.service._client.is_closed()
