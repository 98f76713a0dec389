"""Transcription behind OpenAI's protocol."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import TranscriptionFrame

from turncall_testkit.vendors import Manners, openai_fake, pitch_hz


async def test_speech_becomes_one_final_transcript(bench: Callable[..., Any]) -> None:
    """What was said between the start and the end of speech is transcribed once, as final."""
    async with (
        openai_fake(transcripts=[" a table for two "]) as fake,
        bench("stt", "openai", fake.options("stt")).running() as running,
    ):
        await running.utterance()
        said = await running.first(TranscriptionFrame)
    assert said.text == "a table for two"
    assert said.finalized
    assert len(running.got(TranscriptionFrame)) == 1
    assert running.errors == []


async def test_the_server_gets_the_sound_at_its_true_rate(bench: Callable[..., Any]) -> None:
    """The WAV file is mono at 8 kHz, as long as the speech, and sounds as it did."""
    async with openai_fake() as fake, bench("stt", "openai", fake.options("stt")).running() as running:
        await running.utterance(1.0)
        await running.first(TranscriptionFrame)
    (asked,) = fake.journal
    assert (asked.fields["rate_hz"], asked.fields["channels"]) == (8000, 1)
    assert 1.0 <= len(asked.audio) / 16_000 <= 1.6
    assert pitch_hz(asked.audio, 8000) == pytest.approx(300, abs=5)


@pytest.mark.parametrize(("language", "sent"), [("en-US", "en"), ("de", "de"), ("pt-BR", "pt")])
async def test_the_agents_language_is_sent_as_the_server_knows_it(
    bench: Callable[..., Any], language: str, sent: str
) -> None:
    """Without its region."""
    async with (
        openai_fake() as fake,
        bench("stt", "openai", fake.options("stt"), language=language).running() as running,
    ):
        await running.utterance(0.2)
        await running.first(TranscriptionFrame)
    assert fake.journal[0].fields["language"] == sent


async def test_options_reach_the_server(bench: Callable[..., Any]) -> None:
    """Model, prompt and temperature are what the agent says, and its keyterms follow the prompt."""
    async with openai_fake() as fake:
        options = {**fake.options("stt"), "model": "whisper-9", "prompt": "Ána, Bo", "temperature": 0.5}
        async with bench("stt", "openai", options, keyterms=("Zoë", "Ño")).running() as running:
            await running.utterance(0.2)
            await running.first(TranscriptionFrame)
    fields = fake.journal[0].fields
    assert (fields["model"], fields["prompt"], fields["temperature"]) == ("whisper-9", "Ána, Bo\nZoë, Ño", "0.5")


async def test_silence_makes_no_transcript(bench: Callable[..., Any]) -> None:
    """An empty answer is nothing said, and no error."""
    async with openai_fake(transcripts=[""]) as fake, bench("stt", "openai", fake.options("stt")).running() as running:
        await running.utterance(0.2)
        await running.until(lambda: fake.journal)
        fake.manners = Manners(fault="refuse_key")
        await running.utterance(0.2)
        await running.error()
        assert running.got(TranscriptionFrame) == []
        assert len(running.errors) == 1


async def test_a_refused_key_is_final(bench: Callable[..., Any]) -> None:
    """After a 401 no more speech is sent in this call."""
    async with openai_fake(key="another") as fake, bench("stt", "openai", fake.options("stt")).running() as running:
        await running.utterance(0.2)
        assert (await running.error(2)).category.is_permanent
        await running.utterance(0.2)
    assert len(fake.journal) == 1


@pytest.mark.parametrize("fault", ["fail", "stall", "break", "cut"])
async def test_a_failure_is_told_once_and_in_time(bench: Callable[..., Any], fault: Any) -> None:
    """The utterance is lost with one error; the next one is heard."""
    async with openai_fake() as fake, bench("stt", "openai", fake.options("stt")).running() as running:
        fake.manners = Manners(fault=fault)
        await running.utterance(0.2)
        await running.error(2)
        fake.manners = Manners()
        await running.utterance(0.2)
        await running.first(TranscriptionFrame)
        assert len(running.errors) == 1


async def test_connections_end_with_the_pipeline(bench: Callable[..., Any]) -> None:
    """The client is closed when the call is over."""
    async with openai_fake() as fake, bench("stt", "openai", fake.options("stt")).running() as running:
        await running.utterance(0.2)
        await running.first(TranscriptionFrame)
    assert running.service._client.is_closed()
