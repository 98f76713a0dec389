"""Speech and transcription by single requests, of Google, Azure and Groq: what is asked, and what is heard."""

from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import TranscriptionFrame, TTSAudioRawFrame, TTSSpeakFrame, TTSStoppedFrame

from turncall_media.errors import VendorUnusable
from turncall_testkit.vendors import FAKES, Manners, pitch_hz

LINE = "We are open from nine to five."
HEARD = [("google", "stt"), ("groq", "stt")]
SPOKEN = [("azure", "tts"), ("google", "tts")]


async def spoken(bench: Callable[..., Any], vendor: str, text: str = LINE, **more: Any) -> tuple[Any, bytes]:
    """The one request for a sentence, and the sound of it."""
    context = {name: more.pop(name) for name in ("language", "secret") if name in more}
    async with FAKES[vendor, "tts"](tone_hz=500.0) as fake:
        async with bench("tts", vendor, {**fake.options("tts"), **more}, **context).running() as running:
            await running.send(TTSSpeakFrame(text))
            await running.first(TTSStoppedFrame)
            assert running.errors == []
        (request,) = fake.journal
        return request, b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))


@pytest.mark.parametrize("vendor", [vendor for vendor, _ in SPOKEN])
async def test_speech_is_the_servers(bench: Callable[..., Any], vendor: str) -> None:
    """Nothing is lost, added or resampled on the way: no header of a file, no half of a sample."""
    _, audio = await spoken(bench, vendor)
    assert len(audio) == 16_000
    assert pitch_hz(audio, 8000) == pytest.approx(500, abs=2)


async def test_azure_is_asked_in_its_own_terms(bench: Callable[..., Any]) -> None:
    """The voice in the agent's language, at its speed; what looks like markup in the text is read, not obeyed."""
    text = 'Fish & chips <break time="9s"/> cost 3 < 4.'
    request, _ = await spoken(bench, "azure", text, language="de", speed=1.5)
    assert request.fields == {
        "voice": "en-US-AvaMultilingualNeural",
        "language": "de-DE",
        "rate": "1.5",
        "text": text,
    }
    request, _ = await spoken(bench, "azure", voice="de-DE-KatjaNeural", language="de-AT")
    assert request.fields == {"voice": "de-DE-KatjaNeural", "language": "de-AT", "rate": None, "text": LINE}


def test_azure_is_asked_where_the_region_says(build: Callable[..., Any]) -> None:
    """A key is known in its region alone."""
    service = build("tts", "azure", {"region": "westeurope"})
    assert service._url == "https://westeurope.tts.speech.microsoft.com/cognitiveservices/v1"


async def test_google_speaks_the_agents_language(bench: Callable[..., Any]) -> None:
    """A short name is a voice for that language, a long one is what it says."""
    request, _ = await spoken(bench, "google", language="de", voice="Kore", speed=1.5)
    assert request.fields["voice"] == {"name": "de-DE-Chirp3-HD-Kore", "languageCode": "de-DE"}
    assert request.fields["input"] == {"text": LINE}
    config = {"audioEncoding": "LINEAR16", "sampleRateHertz": 8000, "speakingRate": 1.5}
    assert request.fields["audioConfig"] == config
    request, _ = await spoken(bench, "google", language="de", voice="en-GB-Neural2-A")
    assert request.fields["voice"] == {"name": "en-GB-Neural2-A", "languageCode": "en-GB"}
    assert "speakingRate" not in request.fields["audioConfig"]


async def heard(bench: Callable[..., Any], vendor: str, duration_s: float = 1.0, **more: Any) -> tuple[Any, str]:
    """The one request for an utterance, and the words of it."""
    context = {name: more.pop(name) for name in ("language", "keyterms") if name in more}
    async with FAKES[vendor, "stt"](transcripts=["book a table for two"]) as fake:
        async with bench("stt", vendor, {**fake.options("stt"), **more}, **context).running() as running:
            await running.utterance(duration_s)
            said = await running.first(TranscriptionFrame)
            assert said.finalized
            assert running.errors == []
        (request,) = fake.journal
        return request, said.text


async def test_google_hears_the_agents_language(bench: Callable[..., Any]) -> None:
    """One request with the whole utterance; results that belong together are one transcript."""
    request, words = await heard(bench, "google", language="de", keyterms=("Zoë",), model="telephony")
    assert words == "book a table for two"
    assert len(request.audio) >= 16_000
    assert request.fields == {
        "encoding": "LINEAR16",
        "sampleRateHertz": 8000,
        "languageCode": "de-DE",
        "model": "telephony",
        "enableAutomaticPunctuation": True,
        "speechContexts": [{"phrases": ["Zoë"]}],
    }


async def test_groq_hears_with_whisper(bench: Callable[..., Any]) -> None:
    """The model, the language without a region, and the words that are likely."""
    more = {"model": "m-1", "prompt": "A diner.", "temperature": 0.5}
    request, words = await heard(bench, "groq", language="de-DE", keyterms=("Zoë",), **more)
    assert words == "book a table for two"
    known = {"model": "m-1", "language": "de", "prompt": "A diner.\nZoë", "temperature": "0.5", "rate_hz": 8000}
    assert known.items() <= request.fields.items()


@pytest.mark.parametrize(("vendor", "kind"), HEARD + SPOKEN)
async def test_own_servers_stand_behind_the_wall_and_get_no_key(
    bench: Callable[..., Any], build: Callable[..., Any], vendor: str, kind: Any
) -> None:
    """A network that the operator did not open is never connected to; an open one is, without the vendor's key."""

    async def work(running: Any) -> None:
        await (running.utterance(0.3) if kind == "stt" else running.send(TTSSpeakFrame(LINE)))

    async with FAKES[vendor, kind]() as fake:
        async with bench(kind, vendor, fake.options(kind), egress_allow=()).running() as running:
            await work(running)
            assert (await running.error()).category.is_permanent
        assert fake.journal == []
        async with bench(kind, vendor, fake.options(kind), secret=None).running() as running:
            await work(running)
            await running.until(lambda: fake.journal)
        assert fake.journal[0].key == "none"
    with pytest.raises(VendorUnusable, match="needs a key"):
        build(kind, vendor, {}, secret=None)


@pytest.mark.parametrize(("vendor", "kind"), HEARD + SPOKEN)
async def test_the_next_request_works_after_one_that_failed(bench: Callable[..., Any], vendor: str, kind: Any) -> None:
    """A server that was away for one sentence is asked again for the next."""
    done = TranscriptionFrame if kind == "stt" else TTSAudioRawFrame
    async with FAKES[vendor, kind]() as fake, bench(kind, vendor, fake.options(kind)).running() as running:
        for fault in ("fail", None):
            fake.manners = Manners(fault=fault)
            await (running.utterance(0.3) if kind == "stt" else running.send(TTSSpeakFrame(LINE)))
            await (running.error() if fault else running.first(done))
        assert running.service.is_usable
