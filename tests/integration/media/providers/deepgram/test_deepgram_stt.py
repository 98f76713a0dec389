"""Deepgram's live transcription in a call whose turns are ended by our own voice detector."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import InterimTranscriptionFrame, TranscriptionFrame

from turncall_media.errors import VendorUnusable
from turncall_media.stages import hearing
from turncall_testkit.vendors import Manners, deepgram_fake


def asked(fake: Any, name: str) -> list[Any]:
    """What the fake was asked under that name."""
    return [one for one in fake.journal if one.name == name]


async def test_the_end_of_speech_brings_the_final_transcript(bench: Callable[..., Any]) -> None:
    """Words come while the caller speaks; when the voice detector says stop, the rest comes, marked as final."""
    async with (
        deepgram_fake(transcripts=["a table for two", "at eight"]) as fake,
        bench("stt", "deepgram", fake.options("stt")).running() as running,
    ):
        await running.utterance(1.0)
        said = await running.first(TranscriptionFrame)
        assert (said.text, said.finalized) == ("a table for two", True)
        assert running.got(InterimTranscriptionFrame)[0].text == "a"
        await running.utterance(0.4)
        await running.until(lambda: len(running.got(TranscriptionFrame)) == 2)
    assert running.got(TranscriptionFrame)[1].text == "at eight"
    assert len(asked(fake, "Finalize")[0].audio) == 16_000
    assert running.errors == []


async def test_the_socket_is_asked_for_as_the_call_needs_it(bench: Callable[..., Any]) -> None:
    """Raw samples at the pipeline's rate, the agent's language, its keyterms, partial words, no endpointing."""
    async with deepgram_fake() as fake:
        options = {
            **fake.options("stt"),
            "model": "nova-3-medical",
            "keyterms": ["Ána & Bo", "Zoë"],
            "smart_format": True,
        }
        async with bench("stt", "deepgram", options, language="de", keyterms=("Zoë", "Ño")).running() as running:
            await running.utterance(0.2)
            await running.first(TranscriptionFrame)
    (opened,) = asked(fake, "/v1/listen")
    assert opened.key == "key-1"
    wanted = {
        "encoding": "linear16",
        "sample_rate": "8000",
        "channels": "1",
        "language": "de",
        "model": "nova-3-medical",
    }
    wanted |= {"interim_results": "true", "endpointing": "false", "smart_format": "true"}
    assert {name: opened.fields[name] for name in wanted} == {name: [value] for name, value in wanted.items()}
    assert opened.fields["keyterm"] == ["Ána & Bo", "Zoë", "Ño"]


async def test_older_models_get_keyterms_as_keywords(bench: Callable[..., Any]) -> None:
    """An agent's keyterms reach a model that has no keyterms of its own."""
    async with deepgram_fake() as fake:
        options = {**fake.options("stt"), "model": "nova-2"}
        async with bench("stt", "deepgram", options, keyterms=("Zoë",)).running() as running:
            await running.utterance(0.2)
            await running.first(TranscriptionFrame)
    (opened,) = asked(fake, "/v1/listen")
    assert opened.fields["keywords"] == ["Zoë"]
    assert "keyterm" not in opened.fields


async def test_the_socket_is_closed_in_good_order(bench: Callable[..., Any]) -> None:
    """Deepgram is told that the call is over."""
    async with deepgram_fake() as fake:
        async with bench("stt", "deepgram", fake.options("stt")).running():
            pass
        async with asyncio.timeout(2):
            while not asked(fake, "CloseStream"):  # noqa: ASYNC110 - the fake hears it some time later
                await asyncio.sleep(0.01)


async def test_a_refused_key_is_final(bench: Callable[..., Any]) -> None:
    """A 401 is told with Deepgram's own reason, and not asked for again."""
    async with (
        deepgram_fake(key="another") as fake,
        bench("stt", "deepgram", fake.options("stt")).running() as running,
    ):
        error = await running.error(2)
        assert "Invalid credentials" in error.error
        assert not running.service.is_usable
        await running.utterance(0.2)
    assert len(asked(fake, "/v1/listen")) == 1


async def test_a_failing_server_is_tried_again(bench: Callable[..., Any]) -> None:
    """A 500 at the start holds the call up no longer than the timeout; once it works, the caller is heard."""
    async with deepgram_fake() as fake:
        fake.manners = Manners(fault="fail")
        async with bench("stt", "deepgram", fake.options("stt")).running() as running:
            assert not (await running.error(2)).category.is_permanent
            fake.manners = Manners()
            await running.until(lambda: running.service._socket, 10)
            await running.utterance(0.2)
            await running.first(TranscriptionFrame)


async def test_a_server_that_keeps_failing_is_given_up(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last pause nobody tries again, and that is said as final."""
    monkeypatch.setattr(hearing, "PAUSES_S", (0.01, 0.02))
    async with deepgram_fake() as fake:
        fake.manners = Manners(fault="fail")
        async with bench("stt", "deepgram", fake.options("stt")).running() as running:
            await running.until(lambda: not running.service.is_usable, 2)
            await asyncio.sleep(0.1)
    assert len(asked(fake, "/v1/listen")) == 3


async def test_what_is_said_without_a_socket_is_heard_by_the_next(bench: Callable[..., Any]) -> None:
    """Speech that began and ended while Deepgram was away is sent when it is back, and transcribed to its end."""
    async with deepgram_fake() as fake:
        fake.manners = Manners(fault="fail")
        async with bench("stt", "deepgram", fake.options("stt")).running() as running:
            await running.error(2)
            await running.utterance(0.5)
            fake.manners = Manners()
            assert (await running.first(TranscriptionFrame)).finalized
    assert len(asked(fake, "Finalize")[0].audio) == 8000


@pytest.mark.parametrize("fault", ["stall", "break", "cut"])
async def test_a_failure_is_told_in_time(bench: Callable[..., Any], fault: Any) -> None:
    """A socket that falls silent, breaks or is gone gives an error, and a new socket hears what comes next."""
    async with deepgram_fake() as fake, bench("stt", "deepgram", fake.options("stt")).running() as running:
        fake.manners = Manners(fault=fault)
        await running.utterance(0.2)
        assert not (await running.error(2)).category.is_permanent
        fake.manners = Manners()
        await running.until(lambda: len(asked(fake, "/v1/listen")) > 1 and running.service._socket, 8)
        await running.utterance(0.2)
        await running.first(TranscriptionFrame)


async def test_the_wall_stands_before_internal_addresses(bench: Callable[..., Any]) -> None:
    """A base_url that leads to a network which the operator did not open is never connected to, and that is final."""
    async with (
        deepgram_fake() as fake,
        bench("stt", "deepgram", fake.options("stt"), egress_allow=()).running() as running,
    ):
        error = await running.error(2)
        assert error.category.is_permanent
    assert fake.journal == []


def test_without_key_and_server_there_is_no_transcription(build: Callable[..., Any]) -> None:
    """Deepgram's own servers need a key."""
    with pytest.raises(VendorUnusable, match="needs a key"):
        build("stt", "deepgram", {}, secret=None)
