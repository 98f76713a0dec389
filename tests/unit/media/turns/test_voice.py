"""When a voice begins and ends, at the window where it did."""

import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray

from turncall_media.audio.sound import TELEPHONE
from turncall_media.turns import silero
from turncall_media.turns.silero import WINDOW_MS
from turncall_media.turns.voice import VoiceChange, VoiceDetector, VoiceSettings

WINDOW = WINDOW_MS * TELEPHONE.samples_per_ms

SETTINGS = VoiceSettings(confidence=0.7, start_ms=200, stop_ms=200)


class Scripted:
    """Takes loud windows for speech; counts what it was asked."""

    def __init__(self) -> None:
        self.windows = 0
        self.resets = 0

    def score(self, window: NDArray[np.int16]) -> float:
        self.windows += 1
        return 0.9 if np.abs(window).max() > 3000 else 0.0

    def reset(self) -> None:
        self.resets += 1


def sound(level: int, windows: int) -> bytes:
    """So many windows at one level."""
    return np.full(windows * WINDOW, level, "<i2").tobytes()


def changes(detector: VoiceDetector, pcm: bytes, piece_bytes: int = 320) -> list[VoiceChange]:
    """Feeds ``pcm`` as a carrier would."""
    pieces = (pcm[start : start + piece_bytes] for start in range(0, len(pcm), piece_bytes))
    return [change for piece in pieces for change in detector.feed(piece)]


def test_voice_is_placed_where_it_was() -> None:
    """The change is told at the window where it happened; it is known 192 ms later, at the end of a carrier's frame."""
    detector = VoiceDetector(SETTINGS, Scripted())
    pcm = sound(0, 50) + sound(8000, 40) + sound(0, 20)
    assert changes(detector, pcm) == [VoiceChange("began", 1600, 200), VoiceChange("ended", 2880, 200)]


@pytest.mark.parametrize(("noise", "ended_ms"), [(0, 1612), (20, 1612), (400, 1632)])
def test_voice_ends_with_its_last_sound(noise: int, ended_ms: int) -> None:
    """On a quiet line that is in the middle of a window; in noise the window's end has to do."""
    detector = VoiceDetector(SETTINGS, Scripted())
    pcm = np.full(80 * WINDOW, noise, "<i2")
    pcm[30 * WINDOW : 1611 * TELEPHONE.samples_per_ms] = 8000
    _, ended = changes(detector, pcm.tobytes())
    assert (ended.kind, ended.at_ms) == ("ended", ended_ms)
    known_ms = 1632 + 6 * WINDOW_MS  # six windows later, in a frame of 20 ms
    assert ended.at_ms + ended.late_ms == -(-known_ms // 20) * 20


def test_short_noise_is_no_voice_and_a_short_pause_no_end() -> None:
    """What does not last as long as its window changes nothing."""
    detector = VoiceDetector(SETTINGS, Scripted())
    assert changes(detector, sound(8000, 5) + sound(0, 10)) == []
    talking = sound(8000, 10) + sound(0, 5) + sound(8000, 10)
    assert [change.kind for change in changes(detector, talking)] == ["began"]


def test_pieces_of_any_size_make_no_difference() -> None:
    """The windows do not depend on how the audio was cut up."""
    pcm = sound(0, 10) + sound(8000, 20) + sound(0, 20)
    results = [
        [(change.kind, change.at_ms) for change in changes(VoiceDetector(SETTINGS, Scripted()), pcm, size)]
        for size in (2, 320, 4800, len(pcm))
    ]
    assert all(result == results[0] for result in results)
    assert len(results[0]) == 2


def test_quiet_line_does_not_ask_the_model() -> None:
    """Below the gate there is nothing to ask about, and the model forgets every two seconds."""
    scorer = Scripted()
    changes(VoiceDetector(SETTINGS, scorer), sound(40, 200))
    assert scorer.windows == 0
    assert scorer.resets == 3


def test_model_does_not_forget_in_the_middle_of_a_word() -> None:
    """A reset while somebody speaks would end the speech early."""
    scorer = Scripted()
    changes(VoiceDetector(SETTINGS, scorer), sound(8000, 300))
    assert scorer.resets == 0


def test_stalled_audio_ends_the_voice_once() -> None:
    """Whoever was speaking when the audio stopped coming is taken to be silent."""
    detector = VoiceDetector(SETTINGS, Scripted())
    assert detector.stall() is None
    changes(detector, sound(8000, 10))
    ended = detector.stall()
    assert ended is not None
    assert ended.kind == "ended"
    assert detector.stall() is None


def test_shared_model_scores_as_pipecats_own() -> None:
    """Two calls on one session do not disturb each other, and get what an analyzer of their own would give."""
    from pipecat.audio.vad.silero import SileroOnnxModel

    path = str(importlib.util.find_spec("pipecat.audio.vad.data").submodule_search_locations[0])  # type: ignore[union-attr, index]
    rng = np.random.default_rng(7)
    first, second = (rng.normal(0, 4000, (40, WINDOW)).astype(np.int16) for _ in range(2))
    ears = silero.Ear(silero.load()), silero.Ear(silero.load())
    own = SileroOnnxModel(f"{path}/silero_vad.onnx"), SileroOnnxModel(f"{path}/silero_vad.onnx")
    for windows in zip(first, second, strict=True):
        for ear, model, window in zip(ears, own, windows, strict=True):
            assert ear.score(window) == pytest.approx(model(window.astype(np.float32) / 32768, 8000).item(), abs=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="needs a voice: turncall-media[local]")
def test_real_speech_is_found() -> None:
    """A sentence of a synthetic voice over silence begins and ends once, within a tenth of a second of where it is."""
    from turncall_phone.speech import EspeakVoice

    espeak = __import__("espeakng_loader")
    voice = EspeakVoice(espeak.get_library_path(), espeak.get_data_path())
    spoken = np.frombuffer(voice("I would like to book a table for two, please."), "<i2")
    loud = np.flatnonzero(np.abs(spoken) > 500)
    pcm = bytes(2 * 8000) + spoken.tobytes() + bytes(2 * 8000)
    settings = VoiceSettings(confidence=0.7, start_ms=200, stop_ms=500)  # the comma is a pause
    began, ended = changes(VoiceDetector(settings, silero.Ear(silero.load())), pcm)
    assert (began.kind, ended.kind) == ("began", "ended")
    assert began.at_ms == pytest.approx(1000 + loud[0] / 8, abs=100)
    assert ended.at_ms == pytest.approx(1000 + loud[-1] / 8, abs=150)
