"""ElevenLabs' voices, against a fake of its protocol."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import TTSAudioRawFrame, TTSSpeakFrame, TTSStoppedFrame, TTSTextFrame

from turncall_media.errors import VendorUnusable
from turncall_testkit.vendors import Manners, elevenlabs_fake, pitch_hz

LINE = "We are open from nine to five."


async def test_options_reach_the_server(bench: Callable[..., Any]) -> None:
    """Voice, model, language and the phone's rate in the URL, the voice's manner in its first message."""
    async with elevenlabs_fake() as fake:
        options = {
            "voice": "v-1",
            "model": "eleven_flash_v2_5",
            "stability": 0.4,
            "similarity_boost": 0.6,
            "speed": 1.1,
        }
        line = bench("tts", "elevenlabs", {**fake.options("tts"), **options}, language="de-DE")
        async with line.running() as running:
            await running.send(TTSSpeakFrame(LINE))
            await running.first(TTSStoppedFrame)
        opened, first = fake.journal[0], fake.journal[1]
        assert opened.name == "/v1/text-to-speech/v-1/multi-stream-input"
        known = {"model_id": "eleven_flash_v2_5", "output_format": "pcm_8000", "language_code": "de"}
        assert known.items() <= opened.fields.items()
        assert first.fields["voice_settings"] == {"stability": 0.4, "similarity_boost": 0.6, "speed": 1.1}


async def test_speech_is_the_servers_with_the_time_of_each_word(bench: Callable[..., Any]) -> None:
    """Nothing is lost or resampled on the way, and all words come, in order, later and later."""
    async with (
        elevenlabs_fake(tone_hz=500.0) as fake,
        bench("tts", "elevenlabs", fake.options("tts")).running() as running,
    ):
        await running.send(TTSSpeakFrame(LINE))
        await running.first(TTSStoppedFrame)
        audio = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
        assert pitch_hz(audio, 8000) == pytest.approx(500, abs=2)
        words = running.got(TTSTextFrame)
        assert " ".join(frame.text for frame in words) == LINE
        times = [frame.pts for frame in words]
        assert times == sorted(times)
        assert times[-1] > times[0]


async def test_an_unknown_voice_is_told(bench: Callable[..., Any]) -> None:
    """ElevenLabs accepts the connection and then closes it; the caller is not left in silence."""
    async with elevenlabs_fake() as fake:
        line = bench("tts", "elevenlabs", {**fake.options("tts"), "voice": "nobody"})
        async with line.running() as running:
            await running.send(TTSSpeakFrame(LINE))
            assert (await running.error()).error


async def test_speech_goes_on_after_a_cut(bench: Callable[..., Any]) -> None:
    """The sentence under way is told as lost; the next one has a new socket."""
    async with elevenlabs_fake() as fake:
        fake.manners = Manners(fault="cut")
        async with bench("tts", "elevenlabs", fake.options("tts")).running() as running:
            await running.send(TTSSpeakFrame(LINE))
            assert "broke off" in (await running.error()).error
            fake.manners = Manners()
            opened = fake.journal[0].name
            await running.until(lambda: [one.name for one in fake.journal].count(opened) == 2)
            before = len(running.got(TTSAudioRawFrame))
            await running.send(TTSSpeakFrame(LINE))
            await running.until(lambda: len(running.got(TTSAudioRawFrame)) >= before + 10)


async def test_a_server_of_ones_own_gets_no_key(bench: Callable[..., Any], build: Callable[..., Any]) -> None:
    """It works without one; ElevenLabs' own does not."""
    async with elevenlabs_fake() as fake:
        async with bench("tts", "elevenlabs", fake.options("tts"), secret=None).running() as running:
            await running.send(TTSSpeakFrame(LINE))
            await running.first(TTSStoppedFrame)
        assert fake.journal[0].key == "none"
    with pytest.raises(VendorUnusable, match="elevenlabs"):
        build("tts", "elevenlabs", {}, secret=None)
