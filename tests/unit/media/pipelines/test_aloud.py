"""What a voice is to read of a text that was written for a screen."""

import pytest

from turncall_media.pipelines.aloud import plain, pronounced


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("**Bold**, *soft*, _slanted_ and __both__.", "Bold, soft, slanted and both."),
        ("**The first half.", "The first half."),
        ("the second half.** Good", "the second half. Good"),
        ("# Hours\n- Monday: *nine*\n* Tuesday", "Hours\nMonday: nine\nTuesday"),
        ("> They said `yes`.", "They said yes."),
        ("```python\nprint()\n```", "print()"),
        ("| Day | Open |\n|---|---|\n| Mon | 9 |", "Day, Open\n\nMon, 9"),
        ('See [our page](https://example.com/a?b=1 "t").', "See our page."),
        ("Go to https://www.example.com/path?q=1#x.", "Go to example.com."),
        ("Go to www.example.com, please.", "Go to example.com, please."),
        ("Is it <https://example.com>?", "Is it example.com?"),
        ("(at http://u:p@example.com:8080/x)", "(at example.com)"),
        ("Great 🎉! Thanks 👍🏽 a lot ❤️.", "Great! Thanks a lot."),
        ("👨‍👩‍👧 family 🇩🇪", "family"),
        ("😀", ""),
        ("***", ""),
    ],
)
def test_marks_and_pictures_are_not_read(written: str, read: str) -> None:
    """Markdown, emoji and addresses lose what nobody says; the words and their punctuation stay."""
    assert plain(written) == read


@pytest.mark.parametrize(
    "text",
    [
        "It is 5*3, or 5 * 3.",
        "Press *1, then * or #.",
        "The file is named user_name_2.",
        "It is 20 °C, © 2026 – “so”…",
        "Ça va ? Äpfel, 東京、 5 < 6.",
        "  two  spaces stay.  ",
        "I'm well-known: yes/no (maybe) at 50% - or 3-4.",
    ],
)
def test_what_people_say_stays_as_it_is(text: str) -> None:
    """Stars of keypads, names with underscores and signs that are read are no markup."""
    assert plain(text) == text


def test_words_are_replaced_whole_and_once() -> None:
    """In any case, the longest first, never inside another word, and not again in what was put there."""
    say = pronounced({"SQL": "sequel", "MySQL": "my sequel", "sequel": "next part", "Dr.": "doctor", "C++": "see plus"})
    assert say("sql, MySQL and NoSQLs; the sequel by Dr. No in C++.") == (
        "sequel, my sequel and NoSQLs; the next part by doctor No in see plus."
    )
    assert pronounced({})("as it was") == "as it was"
