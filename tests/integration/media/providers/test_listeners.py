"""Transcription over a socket, whoever does it, in a call whose turns are ended by our own voice detector."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from pipecat.frames.frames import InterimTranscriptionFrame, TranscriptionFrame

from turncall_media.errors import VendorUnusable
from turncall_media.stages import hearing
from turncall_testkit.vendors import FAKES, Manners

FINALIZES: Final = {"assemblyai": "ForceEndpoint", "cartesia": "finalize", "elevenlabs": "commit"}
VENDORS: Final = sorted(FINALIZES)


def asked(fake: Any, name: str) -> list[Any]:
    """What the fake was asked under that name."""
    return [one for one in fake.journal if one.name == name]


def opened(fake: Any) -> list[Any]:
    """The sockets that were asked for."""
    return [one for one in fake.journal if one.name.startswith("/")]


async def query_of(bench: Callable[..., Any], vendor: str, options: dict[str, Any], **context: Any) -> Any:
    """The query of the one socket that was opened for a short call."""
    async with FAKES[vendor, "stt"]() as fake:
        async with bench("stt", vendor, {**fake.options("stt"), **options}, **context).running() as running:
            await running.utterance(0.2)
            await running.first(TranscriptionFrame)
        (one,) = opened(fake)
        return one.fields


@pytest.mark.parametrize("vendor", VENDORS)
async def test_the_end_of_speech_brings_the_final_transcript(bench: Callable[..., Any], vendor: str) -> None:
    """Words come while the caller speaks; when the voice detector says stop, the rest comes, marked as final, and no
    sound is lost on the way."""
    async with (
        FAKES[vendor, "stt"](transcripts=["a table for two", "at eight"]) as fake,
        bench("stt", vendor, fake.options("stt")).running() as running,
    ):
        await running.utterance(1.0)
        said = await running.first(TranscriptionFrame)
        assert (said.text, said.finalized) == ("a table for two", True)
        assert running.got(InterimTranscriptionFrame)[0].text == "a"
        await running.utterance(0.4)
        await running.until(lambda: len(running.got(TranscriptionFrame)) == 2)
        assert running.got(TranscriptionFrame)[1].text == "at eight"
        for one, sent in zip(asked(fake, FINALIZES[vendor]), (16_000, 6_400), strict=True):
            assert sent <= len(one.audio) < sent + 800, "at most filled up with silence to a message of 50 ms"
        assert running.errors == []


async def test_scribe_is_asked_as_the_call_needs_it(bench: Callable[..., Any]) -> None:
    """Raw samples at the pipeline's rate, the agent's language and keyterms; the turns are ours to end."""
    fields = await query_of(bench, "elevenlabs", {"model": "m_1"}, language="de-DE", keyterms=("Zoë", "Ána & Bo"))
    wanted = {"model_id": ["m_1"], "language_code": ["de"], "audio_format": ["pcm_8000"]}
    assert {**wanted, "commit_strategy": ["manual"], "keyterms": ["Zoë", "Ána & Bo"]} == fields


async def test_ink_is_asked_as_the_call_needs_it(bench: Callable[..., Any]) -> None:
    """Raw samples at the pipeline's rate, the agent's language; its keyterms where the model knows any."""
    fields = await query_of(bench, "cartesia", {}, language="de-DE", keyterms=("Zoë",))
    assert fields == {"model": "ink-whisper", "language": "de", "encoding": "pcm_s16le", "sample_rate": "8000"}
    assert (await query_of(bench, "cartesia", {"model": "ink-2"}, keyterms=("Zoë",)))["keyterm"] == "Zoë"


async def test_assemblyai_is_asked_as_the_call_needs_it(bench: Callable[..., Any]) -> None:
    """Raw samples at the pipeline's rate, a model for the agent's language, its keyterms; the turns are ours to end."""
    fields = await query_of(bench, "assemblyai", {}, language="de-DE", keyterms=("Zoë",))
    assert (fields["sample_rate"], fields["encoding"]) == ("8000", "pcm_s16le")
    assert fields["speech_model"] == "universal-streaming-multilingual"
    assert fields["end_of_turn_confidence_threshold"] == "1.0"
    assert fields["keyterms_prompt"] == '["Zoë"]'
    assert (await query_of(bench, "assemblyai", {}))["speech_model"] == "universal-streaming-english"
    assert (await query_of(bench, "assemblyai", {"model": "m-1"}))["speech_model"] == "m-1"


async def test_assemblyai_says_it_as_it_is_written(bench: Callable[..., Any]) -> None:
    """With format_turns the words come once, with capitals and punctuation."""
    async with FAKES["assemblyai", "stt"]() as fake:
        options = {**fake.options("stt"), "format_turns": True}
        async with bench("stt", "assemblyai", options).running() as running:
            await running.utterance(0.2)
            await running.first(TranscriptionFrame)
            await running.utterance(0.2)
            await running.until(lambda: len(running.got(TranscriptionFrame)) == 2)
            assert {one.text for one in running.got(TranscriptionFrame)} == {"Book a table for two."}


async def test_a_cough_is_no_failure_of_assemblyai(bench: Callable[..., Any]) -> None:
    """It says nothing of a sound without words, so a short one is not waited for."""
    async with FAKES["assemblyai", "stt"]() as fake:
        fake.manners = Manners(fault="stall")
        async with bench("stt", "assemblyai", fake.options("stt")).running() as running:
            await running.utterance(0.3)
            await running.until(lambda: asked(fake, "ForceEndpoint"))
            await asyncio.sleep(0.8)
            assert running.errors == []


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_refused_key_is_asked_for_once(bench: Callable[..., Any], vendor: str) -> None:
    """However the vendor refuses it."""
    async with (
        FAKES[vendor, "stt"](key="another") as fake,
        bench("stt", vendor, fake.options("stt")).running() as running,
    ):
        await running.error()
        await running.until(lambda: not running.service.is_usable)
        await running.utterance(0.2)
        await asyncio.sleep(0.3)
        assert len(opened(fake)) == 1
        assert len(running.errors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
async def test_what_is_said_without_a_socket_is_heard_by_the_next(
    bench: Callable[..., Any], vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speech that began and ended while the vendor was away is sent when it is back, and transcribed to its end."""
    monkeypatch.setattr(hearing, "PAUSES_S", (0.2,) * 20)
    async with FAKES[vendor, "stt"]() as fake:
        fake.manners = Manners(fault="fail")
        async with bench("stt", vendor, fake.options("stt")).running() as running:
            await running.error()
            await running.utterance(1.5)
            fake.manners = Manners()
            assert (await running.first(TranscriptionFrame)).finalized
            assert 24_000 <= len(asked(fake, FINALIZES[vendor])[0].audio) < 24_800


@pytest.mark.parametrize("fault", ["stall", "break", "cut"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_new_socket_hears_what_comes_next(bench: Callable[..., Any], vendor: str, fault: Any) -> None:
    """After one that fell silent, broke or is gone, which is told and may pass."""
    async with FAKES[vendor, "stt"]() as fake, bench("stt", vendor, fake.options("stt")).running() as running:
        fake.manners = Manners(fault=fault)
        await running.utterance(0.8)
        assert not (await running.error()).category.is_permanent
        fake.manners = Manners()
        await running.until(lambda: len(opened(fake)) > 1 and running.service._socket, 8)
        await running.utterance(0.2)
        await running.first(TranscriptionFrame)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_server_that_keeps_failing_is_given_up(
    bench: Callable[..., Any], vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last pause nobody tries again, and that is said as final."""
    monkeypatch.setattr(hearing, "PAUSES_S", (0.01, 0.02))
    async with FAKES[vendor, "stt"]() as fake:
        fake.manners = Manners(fault="fail")
        async with bench("stt", vendor, fake.options("stt")).running() as running:
            await running.until(lambda: not running.service.is_usable)
            await running.until(lambda: "given up" in running.errors[-1].error)
        assert len(opened(fake)) == 3


@pytest.mark.parametrize("vendor", VENDORS)
async def test_own_servers_stand_behind_the_wall_and_get_no_key(
    bench: Callable[..., Any], build: Callable[..., Any], vendor: str
) -> None:
    """A network that the operator did not open is never connected to; an open one is, without the vendor's key."""
    async with FAKES[vendor, "stt"]() as fake:
        async with bench("stt", vendor, fake.options("stt"), egress_allow=()).running() as running:
            assert (await running.error()).category.is_permanent
        assert fake.journal == []
        async with bench("stt", vendor, fake.options("stt"), secret=None).running() as running:
            await running.until(lambda: opened(fake))
        assert opened(fake)[0].key == "none"
    with pytest.raises(VendorUnusable, match="needs a key"):
        build("stt", vendor, {}, secret=None)
