"""Which words were heard when the samples stopped."""

import pytest

from turncall_media.wire.ledger import MS_PER_CHARACTER, Ledger, whole_words


def two_sentences() -> Ledger:
    """Ten characters in each of two seconds, one after the other."""
    ledger = Ledger()
    ledger.announce("Aaa bbb c.", 0)
    ledger.spoken("Aaa bbb c.", 8000)
    ledger.announce("Ddd eee f.", 8000)
    ledger.spoken("Ddd eee f.", 16000)
    ledger.complete(16000)
    return ledger


@pytest.mark.parametrize(
    ("position", "heard"),
    [
        (0, ""),
        (800, ""),
        (3000, "Aaa"),
        (7999, "Aaa bbb"),
        (8000, "Aaa bbb c."),
        (8000 + 5600, "Aaa bbb c. Ddd eee"),
        (16000, "Aaa bbb c. Ddd eee f."),
        (99999, "Aaa bbb c. Ddd eee f."),
    ],
)
def test_whole_sentences_and_the_words_of_the_cut_one(position: int, heard: str) -> None:
    """A sentence counts when its samples were played; of the cut one, the words that ended before."""
    assert two_sentences().heard(position, 16000) == heard


def test_streaming_voice_is_cut_in_proportion() -> None:
    """Words that come before the audio are spread over all of it."""
    ledger = Ledger()
    for sentence in ("Aaa bbb c.", "Ddd eee f."):
        ledger.announce(sentence, 0)
        ledger.spoken(sentence, 0)
    ledger.announce("Ggg hhh i.", 4000)  # the model went on while the voice already spoke
    ledger.spoken("Ggg hhh i.", 4000)
    ledger.complete(32000)
    assert ledger.heard(16000, 32000) == "Aaa bbb c. Ddd"
    assert ledger.heard(32000, 32000) == "Aaa bbb c. Ddd eee f. Ggg hhh i."


def test_unfinished_audio_is_not_taken_for_the_whole() -> None:
    """While the voice is still making a sentence, the samples so far hold its beginning, not all of it."""
    ledger = Ledger()
    text = "Aaa bbb ccc ddd eee."
    ledger.announce(text, 0)
    so_far = 10 * 8 * MS_PER_CHARACTER
    assert ledger.heard(so_far, so_far) == "Aaa bbb"


def test_words_without_audio_are_not_heard() -> None:
    """A voice that failed said nothing."""
    ledger = Ledger()
    ledger.announce("Aaa bbb.", 500)
    assert ledger.heard(500, 500) == ""
    assert ledger.text == "Aaa bbb."


def test_unannounced_words_count_all_the_same() -> None:
    """A vendor that only tells what it has spoken is believed."""
    ledger = Ledger()
    ledger.spoken("Aaa.", 0)
    ledger.spoken(" ", 0)
    ledger.complete(8000)
    assert ledger.text == "Aaa."
    assert ledger.heard(8000, 8000) == "Aaa."


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (0, ""),
        (0.2, ""),
        (0.3, "Half"),
        (0.5, "Half a"),
        (0.99, "Half a word"),
        (1, "Half a word is"),
        (2, "Half a word is"),
    ],
)
def test_only_whole_words_count(fraction: float, words: str) -> None:
    """A word that was cut was not said."""
    assert whole_words("Half a word is", fraction) == words


@pytest.mark.parametrize(("position", "begun"), [(0, 0), (1, 1), (8000, 1), (8001, 2), (99999, 2)])
def test_sentence_begins_with_its_first_sample(position: int, begun: int) -> None:
    """A sentence has begun once one of its samples was played."""
    assert two_sentences().begun(position, 16000) == begun


def test_text_announced_as_a_whole_begins_sentence_by_sentence() -> None:
    """A greeting of two sentences in one piece of audio is spread over it, and is two sentences to follow."""
    ledger = Ledger()
    ledger.announce("Aaa bbb c. Ddd eee f.", 0)
    ledger.complete(16000)
    assert ledger.sentences == ["Aaa bbb c.", "Ddd eee f."]
    assert [ledger.begun(position, 16000) for position in (0, 100, 8000, 8500, 16000)] == [0, 1, 1, 2, 2]
    assert ledger.text == "Aaa bbb c. Ddd eee f."


def test_nothing_begins_without_words() -> None:
    """An utterance of no words has no sentence."""
    ledger = Ledger()
    ledger.announce("   ", 0)
    assert (ledger.sentences, ledger.begun(8000, 8000)) == ([], 0)
