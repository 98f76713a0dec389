"""espeak-ng in this process: voices and pronunciations."""

import subprocess
import sys

import pytest

from turncall_media.errors import VendorUnusable
from turncall_media.providers.local import tts
from turncall_media.providers.local.espeak import Voice, espeak
from turncall_media.providers.local.pronunciation import arpabet
from turncall_testkit.audio import level_dbfs


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("toothache", "T UW TH EY K"),
        ("o'clock", "AH K L AA K"),
        ("orthodontist", "AO R TH AH D AA N T IH S T"),
        ("10", "T EH N"),
        ("café", "K AE F EY"),
    ],
)
def test_words_are_pronounced_in_the_dictionarys_phones(word: str, phones: str) -> None:
    """espeak-ng's phonemes become CMUdict's, digits and accents included."""
    assert arpabet(word) == phones


def test_a_word_without_sound_is_named() -> None:
    """One such word would make the recogniser refuse the whole grammar."""
    with pytest.raises(VendorUnusable, match="cannot tell how '' sounds"):
        arpabet("")


def test_every_language_has_a_voice() -> None:
    """Each entry of the table exists in the library."""
    assert {voice for voice in tts._VOICES.values() if not espeak().has(voice)} == set()


@pytest.mark.parametrize(
    ("language", "voice"), [("en-GB", "en"), ("en-AU", "en-us"), ("de-AT", "de"), ("pt-BR", "pt-br")]
)
def test_a_region_without_a_voice_takes_its_languages(language: str, voice: str) -> None:
    """The region's own voice, else the language's."""
    assert tts.voice_for(language) == voice


def test_an_unknown_language_says_what_there_is() -> None:
    """The operator reads what to do."""
    with pytest.raises(VendorUnusable, match=r"no 'xx'.*options\.voice"):
        tts.voice_for("xx")


@pytest.mark.parametrize("voice", ["klingon-x", "en-us+nobody"])
def test_an_unknown_voice_is_refused(voice: str) -> None:
    """The library would silently go on with the voice before, and pass over an unknown variant."""
    assert not espeak().has(voice)


def test_parameters_do_not_stay_for_the_next_speaker() -> None:
    """The library keeps them for the whole process; every text is spoken with its own."""
    plain = Voice(name="en-us")
    before = espeak().speak("good morning", plain)
    slow = espeak().speak("good morning", Voice(name="de", words_per_minute=90, pitch=90, volume=20))
    assert len(slow) > 1.3 * len(before)
    assert level_dbfs(slow) < level_dbfs(before) - 6
    after = espeak().speak("good morning", plain)
    assert len(after) == pytest.approx(len(before), rel=0.02)
    assert level_dbfs(after) == pytest.approx(level_dbfs(before), abs=0.5)


def test_resampled_speech_has_the_length_of_the_original() -> None:
    """To the pipeline's rate in one piece, so nothing is held back."""
    voice = Voice(name="en-us")
    original = len(espeak().speak("good morning", voice)) / espeak().rate_hz
    assert len(tts.synthesise("good morning", voice, 8000)) / 8000 == pytest.approx(original, rel=0.02)


def test_many_threads_start_one_library() -> None:
    """Callers who come at once in a fresh process share it; started twice, it would abort the process."""
    program = (
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "from turncall_media.providers.local.espeak import espeak\n"
        "with Pool(16) as pool: print(len({id(one) for one in pool.map(lambda _: espeak(), range(64))}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "1"
