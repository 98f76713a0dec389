"""Cartesia's voices, against a fake of its protocol."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import TTSAudioRawFrame, TTSSpeakFrame, TTSStoppedFrame, TTSTextFrame

from turncall_media.errors import VendorUnusable
from turncall_testkit.vendors import Manners, cartesia_fake, pitch_hz

LINE = "We are open from nine to five."


async def test_options_reach_the_server(bench: Callable[..., Any]) -> None:
    """Voice, model, language, manner and the phone's rate; what is not set is not sent."""
    async with cartesia_fake() as fake:
        manner = {"speed": 1.2, "volume": 0.8}
        options = {**fake.options("tts"), **manner, "voice": "v-1", "model": "sonic-9"}
        async with bench("tts", "cartesia", options, language="de-DE").running() as running:
            await running.send(TTSSpeakFrame(LINE))
            await running.first(TTSStoppedFrame)
        asked = fake.journal[1].fields
        assert (asked["voice"]["id"], asked["model_id"], asked["language"]) == ("v-1", "sonic-9", "de")
        assert asked["generation_config"] == manner
        assert asked["output_format"] == {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000}
        fake.journal.clear()
        async with bench("tts", "cartesia", fake.options("tts")).running() as running:
            await running.send(TTSSpeakFrame(LINE))
            await running.first(TTSStoppedFrame)
        assert "generation_config" not in fake.journal[1].fields


async def test_speech_is_the_servers_with_the_time_of_each_word(bench: Callable[..., Any]) -> None:
    """Nothing is lost or resampled on the way, and all words come, in order, later and later."""
    async with (
        cartesia_fake(tone_hz=500.0) as fake,
        bench("tts", "cartesia", fake.options("tts")).running() as running,
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


@pytest.mark.parametrize("voice", ["nobody", "v-1"])
async def test_an_error_in_the_protocols_own_words_is_told(bench: Callable[..., Any], voice: str) -> None:
    """A voice that does not exist, and a model that fails in the middle of a sentence."""
    async with cartesia_fake() as fake:
        fake.manners = Manners(fault="break")
        async with bench("tts", "cartesia", {**fake.options("tts"), "voice": voice}).running() as running:
            await running.send(TTSSpeakFrame(LINE))
            expected = "voice not found" if voice == "nobody" else "model failed"
            assert expected in (await running.error()).error


async def test_a_server_of_ones_own_gets_no_key(bench: Callable[..., Any], build: Callable[..., Any]) -> None:
    """It works without one; Cartesia's own does not."""
    async with cartesia_fake() as fake:
        async with bench("tts", "cartesia", fake.options("tts"), secret=None).running() as running:
            await running.send(TTSSpeakFrame(LINE))
            await running.first(TTSStoppedFrame)
        assert fake.journal[0].key == "none"
    with pytest.raises(VendorUnusable, match="cartesia"):
        build("tts", "cartesia", {}, secret=None)
