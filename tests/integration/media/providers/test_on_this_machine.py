"""Whisper, Piper and Kokoro: what is told without their packages or models, and, where somebody has put both there,
that they hear and speak: TURNCALL_TEST_MODELS_DIR names a folder with whisper/small, piper/en_US-lessac-medium, kokoro.
"""

import os
import wave
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pipecat.frames.frames import (
    InputAudioRawFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from turncall_media import registry
from turncall_media.errors import VendorUnusable
from turncall_media.providers.kokoro import tts
from turncall_testkit.audio import level_dbfs

PACKAGES = [("stt", "whisper", "faster_whisper"), ("tts", "piper", "piper"), ("tts", "kokoro", "kokoro_onnx")]
MODELS = os.environ.get("TURNCALL_TEST_MODELS_DIR", "")


def modelled(folder: Path) -> str:
    """A folder in which everything lies that is looked for by name."""
    (folder / "whisper" / "small").mkdir(parents=True)
    (folder / "piper").mkdir()
    (folder / "piper" / "en_US-lessac-medium.onnx").write_bytes(b"no model")
    (folder / "piper" / "en_US-lessac-medium.onnx.json").write_text('{"audio": {"sample_rate": 22050}}')
    (folder / "kokoro").mkdir()
    for name in ("kokoro-v1.0.onnx", "voices-v1.0.bin"):
        (folder / "kokoro" / name).write_bytes(b"no model")
    return str(folder)


@pytest.mark.parametrize(("kind", "vendor", "package"), PACKAGES)
def test_what_is_missing_is_told(
    build: Callable[..., Any], tmp_path: Path, kind: Any, vendor: str, package: str
) -> None:
    """The folder, then the model in it, then the package: each in words that say what to do."""
    with pytest.raises(VendorUnusable, match="TURNCALL_MODELS_DIR"):
        build(kind, vendor, {})
    with pytest.raises(VendorUnusable, match=f"has no model .* on this worker: put it into {tmp_path}"):
        build(kind, vendor, {}, models_dir=str(tmp_path))
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(VendorUnusable, match=rf"install turncall-media\[{vendor}\]"):
        build(kind, vendor, {}, models_dir=modelled(tmp_path))
    assert vendor not in registry.installed()[kind]


def test_options_lead_to_no_other_folder() -> None:
    """Who writes an agent names a model, not a path."""
    for kind, vendor, name in (("stt", "whisper", "model"), ("tts", "piper", "voice"), ("tts", "kokoro", "voice")):
        options = registry.load(kind, vendor).Options
        for path in ("../secrets", "/etc/passwd", "..", "a/b", *([""] if vendor != "kokoro" else [])):
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({name: path}, options)


@pytest.mark.parametrize(("language", "voice"), [("en-US", "af_heart"), ("en-GB", "bf_emma"), ("pt-BR", "pf_dora")])
def test_kokoro_speaks_the_agents_language(language: str, voice: str) -> None:
    """With a voice for it, or not at all; a voice that is named speaks its own."""
    assert tts._voice(language) == voice
    assert tts.SPOKEN[voice[0]].startswith(language.split("-", maxsplit=1)[0])
    with pytest.raises(VendorUnusable, match="not de-DE"):
        tts._voice("de-DE")


def test_a_voice_that_is_described_wrongly_is_told(build: Callable[..., Any], tmp_path: Path) -> None:
    """Its file is named."""
    folder = modelled(tmp_path)
    (tmp_path / "piper" / "en_US-lessac-medium.onnx.json").write_text("{}")
    with pytest.raises(VendorUnusable, match="describes no Piper voice"):
        build("tts", "piper", {}, models_dir=folder)


@pytest.mark.parametrize(("kind", "vendor", "package"), PACKAGES)
async def test_a_model_that_does_not_load_is_final(
    bench: Callable[..., Any], tmp_path: Path, kind: Any, vendor: str, package: str
) -> None:
    """Broken files are an error of the pipeline before the first word, and nobody tries them again."""
    pytest.importorskip(package)
    async with bench(kind, vendor, {}, models_dir=modelled(tmp_path)).running() as running:
        assert "does not load" in (await running.error()).error
        assert not running.service.is_usable


@pytest.mark.skipif(not MODELS, reason="TURNCALL_TEST_MODELS_DIR is not set")
async def test_whisper_understands_a_caller(bench: Callable[..., Any]) -> None:
    """Recorded speech over a phone's bandwidth: the word that matters is in the transcript."""
    with wave.open(str(files("turncall.demo").joinpath("caller", "hours.wav"))) as recording:
        audio = bytes(3200) + recording.readframes(recording.getnframes()) + bytes(3200)
    frames = [InputAudioRawFrame(audio[start : start + 320], 8000, 1) for start in range(0, len(audio), 320)]
    async with bench("stt", "whisper", {}, models_dir=MODELS).running() as running:
        await running.send(VADUserStartedSpeakingFrame(start_secs=0.2), *frames)
        await running.send(VADUserStoppedSpeakingFrame(stop_secs=0.2))
        await running.first(TranscriptionFrame, within_s=30)
        assert "hours" in " ".join(frame.text for frame in running.got(TranscriptionFrame)).lower()


@pytest.mark.skipif(not MODELS, reason="TURNCALL_TEST_MODELS_DIR is not set")
@pytest.mark.parametrize("vendor", ["piper", "kokoro"])
async def test_a_voice_speaks(bench: Callable[..., Any], vendor: str) -> None:
    """About as long as a person would take, longer when it is to speak slowly, and loud enough to be heard."""
    lengths_s = []
    for speed in (1.0, 0.5):
        async with bench("tts", vendor, {"speed": speed}, models_dir=MODELS).running() as running:
            await running.send(TTSSpeakFrame("We are open from Monday to Friday, from nine to five."))
            await running.first(TTSStoppedFrame, within_s=30)
            pcm = b"".join(frame.audio for frame in running.got(TTSAudioRawFrame))
            lengths_s.append(len(pcm) / 16_000)
            assert level_dbfs(pcm) > -40
    assert 2 < lengths_s[0] < 6
    assert lengths_s[1] > 1.5 * lengths_s[0]
