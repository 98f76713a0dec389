"""Words to compare."""

import pytest

from turncall_media.providers.local.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("At ten o’clock, please!", ("at", "ten", "o'clock", "please")),
        ("'Tuesday'", ("tuesday",)),
        ("walk-in at 10:30", ("walk", "in", "at", "10", "30")),
        ("Café Übergröße", ("café", "übergröße")),
        ("snake_case", ("snake", "case")),
        ("… – !", ()),
    ],
)
def test_words_are_lower_case_without_punctuation(text: str, expected: tuple[str, ...]) -> None:
    """Apostrophes inside a word stay, everything else that is no letter or digit divides."""
    assert words(text) == expected
