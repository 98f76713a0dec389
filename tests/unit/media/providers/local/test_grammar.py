"""The automaton of expected phrases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncall_media.providers.local.grammar import END, START, grammar

PHRASES = st.lists(
    st.lists(st.sampled_from(["on", "monday", "at", "ten", "no", "thank", "you"]), min_size=1, max_size=4).map(
        " ".join
    ),
    min_size=1,
    max_size=30,
)


@given(PHRASES)
def test_accepts_every_phrase_and_nothing_between(phrases: list[str]) -> None:
    """Each phrase is whole; a beginning or an extension is only if it is a phrase too, or a courtesy ends it."""
    made = grammar(phrases)
    for phrase in phrases:
        said = phrase.split()
        assert made.accepts(said)
        assert made.accepts(["um", *said, "thank", "you"])
        assert made.accepts(said[:-1]) == (" ".join(said[:-1]) in phrases or _is_courteous(said[:-1], phrases))


def _is_courteous(said: list[str], phrases: list[str]) -> bool:
    return said[-2:] == ["thank", "you"] and (" ".join(said[:-2]) in phrases or _is_courteous(said[:-2], phrases))


@given(PHRASES)
def test_steps_join_states_that_exist(phrases: list[str]) -> None:
    """Every state is numbered below the count, every weight is a probability."""
    made = grammar(phrases)
    assert {START, END} <= set(range(made.states))
    assert all(step.source < made.states and step.target < made.states for step in made.steps)
    assert all(0 < step.weight <= 1 for step in made.steps)


def test_the_order_of_phrases_does_not_matter() -> None:
    """Two workers name the same grammar alike, so that it is prepared once."""
    assert grammar(["on Monday", "at ten"]) == grammar(["at ten", "On MONDAY!", "at ten"])


def test_phrases_in_common_share_their_states() -> None:
    """Days times hours stay small: pocketsphinx is slow with phrases one beside the other."""
    phrases = [f"on {day} at {hour}" for day in "abcdefghij" for hour in "klmnopqrst"]
    assert grammar(phrases).states < 10


@pytest.mark.parametrize("phrases", [[], ["..."], ["", "!?"]])
def test_no_phrase_is_no_grammar(phrases: list[str]) -> None:
    """Without words there is nothing to listen for."""
    with pytest.raises(ValueError, match="phrase"):
        grammar(phrases)


def test_silence_is_not_accepted() -> None:
    """No words are no utterance."""
    assert not grammar(["hello there"]).accepts([])
