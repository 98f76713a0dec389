"""Deepgram's voices in a call."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import InterruptionFrame, TTSAudioRawFrame, TTSSpeakFrame, TTSStoppedFrame

from turncall_testkit.vendors import Manners, deepgram_fake, pitch_hz


def spoken(running: Any) -> bytes:
    """All the audio so far."""
    return b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))


def opened(fake: Any) -> list[Any]:
    """The sockets that were asked for."""
    return [one for one in fake.journal if one.name == "/v1/speak"]


async def test_speech_keeps_its_length_and_its_pitch(bench: Callable[..., Any]) -> None:
    """One second is one second at the pipeline's rate and sounds the same."""
    async with (
        deepgram_fake(tone_hz=440, speech_s=1.0) as fake,
        bench("tts", "deepgram", fake.options("tts")).running() as running,
    ):
        await running.send(TTSSpeakFrame("Hello there."))
        await running.first(TTSStoppedFrame)
    assert {(frame.sample_rate, frame.num_channels) for frame in running.got(TTSAudioRawFrame)} == {(8000, 1)}
    assert len(spoken(running)) / 16_000 == pytest.approx(1.0, abs=0.05)
    assert pitch_hz(spoken(running), 8000) == pytest.approx(440, abs=2)
    assert running.errors == []


async def test_options_reach_the_server(bench: Callable[..., Any]) -> None:
    """The voice, its speed, the key, and raw samples at the pipeline's rate."""
    async with deepgram_fake() as fake:
        options = {**fake.options("tts"), "voice": "aura-2-viktoria-de", "speed": 0.9}
        async with bench("tts", "deepgram", options).running() as running:
            await running.send(TTSSpeakFrame("Guten Tag."))
            await running.first(TTSStoppedFrame)
    (socket,) = opened(fake)
    assert socket.key == "key-1"
    wanted = {"model": "aura-2-viktoria-de", "speed": "0.9", "encoding": "linear16", "sample_rate": "8000"}
    assert socket.fields == {name: [value] for name, value in wanted.items()}
    assert [one.fields["text"].strip() for one in fake.journal if one.name == "Speak"] == ["Guten Tag."]


async def test_an_interruption_clears_what_is_not_spoken(bench: Callable[..., Any]) -> None:
    """Deepgram is told to forget it, and the next sentence is spoken on the same socket."""
    async with (
        deepgram_fake(speech_s=3) as fake,
        bench("tts", "deepgram", {**fake.options("tts"), "timeout_ms": 2000}).running() as running,
    ):
        fake.manners = Manners(pace_s=0.03)
        await running.send(TTSSpeakFrame("A long story."))
        await running.first(TTSAudioRawFrame)
        await running.send(InterruptionFrame())
        await running.until(lambda: any(one.name == "Clear" for one in fake.journal))
        heard = len(spoken(running))
        await running.send(TTSSpeakFrame("Sorry?"))
        await running.until(lambda: len(spoken(running)) > heard)
    assert len(opened(fake)) == 1


async def test_a_refused_key_is_final(bench: Callable[..., Any]) -> None:
    """A 401 is told with Deepgram's own reason, and not asked for again."""
    async with (
        deepgram_fake(key="another") as fake,
        bench("tts", "deepgram", fake.options("tts")).running() as running,
    ):
        error = await running.error(2)
        assert error.category.is_permanent
        assert "Invalid credentials" in error.error
        await running.send(TTSSpeakFrame("Hello there."))
        await asyncio.sleep(0.1)
    assert len(opened(fake)) == 1


@pytest.mark.parametrize("fault", ["fail", "stall", "break", "cut"])
async def test_a_failure_is_told_in_time(bench: Callable[..., Any], fault: Any) -> None:
    """A socket that is refused, falls silent, breaks or is gone gives an error, and the next sentence is spoken."""
    async with deepgram_fake() as fake:
        fake.manners = Manners(fault="fail" if fault == "fail" else None)
        async with bench("tts", "deepgram", fake.options("tts")).running() as running:
            fake.manners = Manners(fault=fault)
            await running.send(TTSSpeakFrame("Hello there."))
            assert not (await running.error(2)).category.is_permanent
            fake.manners = Manners()
            before = len(spoken(running))
            await asyncio.sleep(0.7)
            await running.send(TTSSpeakFrame("Hello again."))
            await running.until(lambda: len(spoken(running)) - before >= 16_000, 8)
            assert running.service.is_usable


async def test_the_wall_stands_before_internal_addresses(bench: Callable[..., Any]) -> None:
    """A base_url that leads to a network which the operator did not open is never connected to, and that is final."""
    async with (
        deepgram_fake() as fake,
        bench("tts", "deepgram", fake.options("tts"), egress_allow=()).running() as running,
    ):
        assert (await running.error(2)).category.is_permanent
    assert fake.journal == []
