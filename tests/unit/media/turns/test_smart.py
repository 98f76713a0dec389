"""Whether a caller who pauses is done: what the model is given, and what it says."""

import wave
from importlib import resources

import numpy as np
import pytest

from turncall_media.turns import smart
from turncall_media.turns.smart import BEFORE_SPEECH_MS, LISTENS_TO_MS, Words

PAUSE = bytes(2 * 1600)


def recording(name: str) -> np.ndarray:
    """The demonstration's caller, without the silence around."""
    with resources.files("turncall.demo.caller").joinpath(f"{name}.wav").open("rb") as file, wave.open(file) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    loud = np.flatnonzero(np.abs(samples) > 300)
    return samples[loud[0] : loud[-1]]


@pytest.mark.parametrize(("name", "part", "is_done"), [("time", 1.0, True), ("day", 1.0, True), ("book", 0.6, False)])
async def test_model_tells_an_answer_from_half_a_sentence(name: str, part: float, is_done: bool) -> None:
    """The model in the wheel, at the pipeline's rate, as the pause is noticed."""
    said = recording(name)
    assert await smart.is_done(said[: int(len(said) * part)].tobytes() + PAUSE) is is_done


def test_words_are_those_of_the_turn() -> None:
    """What lay long before the first voice of a turn, and everything before the turn, is not judged."""
    words = Words()
    words.hear(b"ab" * 8 * 3000)
    words.begin(start_ms=200)
    assert len(words.pcm) == 16 * (200 + BEFORE_SPEECH_MS)
    words.hear(b"cd" * 8 * 1000)
    words.begin(start_ms=200)  # after a pause within the turn
    assert len(words.pcm) == 16 * (1200 + BEFORE_SPEECH_MS)
    words.hear(bytes(16 * 2 * LISTENS_TO_MS))
    assert len(words.pcm) == 16 * LISTENS_TO_MS
    words.end()
    assert words.pcm == b""
