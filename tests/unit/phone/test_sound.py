"""Files, rates, tones and voices."""

import ctypes
import io
import wave

import espeakng_loader
import numpy as np
import pytest

from turncall_phone.line import Line
from turncall_phone.speech import default_speak, hum
from turncall_phone.tones import dial_tones, key_tone, noise
from turncall_phone.wav import BadWav, read_wav, to_8khz, write_wav


def sine(hz: float, rate_hz: int, seconds: float) -> np.ndarray:
    """A tone of amplitude 8000."""
    return (8000 * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def power(samples: np.ndarray, hz: float) -> float:
    """How much of one frequency is in the samples."""
    t = np.arange(len(samples)) / 8000
    return float(abs(np.dot(samples.astype(float), np.exp(-2j * np.pi * hz * t))) / max(1, len(samples)))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100])
def test_sound_of_any_rate_is_heard_at_8_khz(rate_hz: int) -> None:
    """Pitch, level and length survive the change of rate."""
    fitted = to_8khz(sine(1000, rate_hz, 0.5), rate_hz)

    assert abs(len(fitted) - 4000) <= 1
    assert power(fitted, 1000) == pytest.approx(4000, rel=0.05)


def test_what_a_telephone_cannot_carry_is_cut() -> None:
    """A tone above 4 kHz does not fold back into the voice band."""
    assert np.abs(to_8khz(sine(6000, 22050, 0.5), 22050)[200:-200]).max() < 400


def test_a_wav_survives_writing_and_reading() -> None:
    """Our own recordings can be read back sample by sample."""
    samples = sine(440, 8000, 0.1)

    assert np.array_equal(read_wav(write_wav(samples.tobytes())), samples)


def test_stereo_is_averaged() -> None:
    """Two channels become one."""
    body = io.BytesIO()
    with wave.open(body, "wb") as sink:
        sink.setnchannels(2)
        sink.setsampwidth(2)
        sink.setframerate(8000)
        sink.writeframes(np.array([[100, 300], [-50, 50]], dtype=np.int16).tobytes())

    assert read_wav(body.getvalue()).tolist() == [200, 0]


@pytest.mark.parametrize("body", [b"", b"RIFF....WAVE", b"not a wav at all"])
def test_what_is_no_wav_is_refused(body: bytes) -> None:
    """Anything else is named as such."""
    with pytest.raises(BadWav):
        read_wav(body)


def test_each_key_has_its_two_tones() -> None:
    """Key 8 sounds as 852 and 1336 Hz and nothing else of the keypad."""
    sound = key_tone("8")[:800]

    loud = {hz for hz in (697, 770, 852, 941, 1209, 1336, 1477, 1633) if power(sound, hz) > 1000}
    assert loud == {852, 1336}


def test_waits_between_digits_are_silence() -> None:
    """`w` is half a second and `W` a whole one."""
    assert len(dial_tones("1wW2")) == 2 * 1600 + 4000 + 8000
    assert not dial_tones("w").any()


def test_the_voice_speaks_for_about_as_long_as_the_words_take() -> None:
    """Longer texts take longer, and speech is loud enough to be counted as such."""
    speak = default_speak()

    short, long = (np.frombuffer(speak(text), np.int16) for text in ("Hello.", "Hello, this is a longer sentence."))

    assert 0.2 * 8000 < len(short) < 2 * 8000
    assert len(long) > 1.5 * len(short)
    assert np.sqrt(np.mean(long.astype(float) ** 2)) > 200


def test_two_voices_in_one_process_do_not_hear_each_other() -> None:
    """The library keeps one state for the process; each voice still gets its own words, all of them."""
    first = default_speak()
    alone = len(first("one two three"))
    second = default_speak()

    assert len(second("one two three")) == pytest.approx(alone, rel=0.05)
    assert len(first("one two three")) == pytest.approx(alone, rel=0.05)
    assert alone > 8000


def test_another_user_of_the_library_does_not_disturb_the_voice() -> None:
    """Starting the same wheel a second time, as a speech service in this process would, leaves the voice whole."""
    speak = default_speak()
    alone = len(speak("one two three"))
    other = ctypes.CDLL(espeakng_loader.get_library_path())
    other.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
    other.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)

    assert len(speak("one two three")) == pytest.approx(alone, rel=0.05)


def test_without_a_voice_each_word_is_a_tone() -> None:
    """The stand-in is as long as its words are many."""
    assert len(hum("three short words")) == 3 * len(hum("one"))
    assert hum("") == b""


def test_another_voice_sounds_otherwise_and_one_that_is_not_there_is_refused() -> None:
    """An accent is another voice; the carrier's own comes back after it."""
    speak = default_speak()
    own = speak("one two three")

    assert len(speak("one two three", "de")) != pytest.approx(len(own), rel=0.05)
    assert len(speak("one two three")) == pytest.approx(len(own), rel=0.05)
    with pytest.raises(ValueError, match="no voice 'xx-nobody'"):
        speak("one", "xx-nobody")


def test_noise_lies_under_speech_and_in_its_pauses_and_is_the_same_each_time() -> None:
    """The called side hears it from the first frame on, so far below the voice as was asked for."""
    line, spoken = Line(), np.full(1600, 10_000, dtype=np.int16)
    line.surround(noise(400.0))
    for _ in range(50):
        line.tick()
    line.mouth.feed(spoken)
    for _ in range(10):
        line.tick()
    said = np.frombuffer(line.said, np.int16).astype(float)

    assert np.sqrt(np.mean(said[:8000] ** 2)) == pytest.approx(400, rel=0.05)
    assert np.mean(said[8000:]) == pytest.approx(10_000, rel=0.05)
    assert np.std(said[8000:]) == pytest.approx(400, rel=0.2)
    assert (noise(400.0) == noise(400.0)).all()
