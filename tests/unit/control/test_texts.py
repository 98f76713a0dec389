"""Texts before the carrier sees them: the words that are not for the agent, and what is too long for one."""

import pytest

from turncall_control.texts.optouts import wish
from turncall_control.texts.parts import LONGEST, parted


@pytest.mark.parametrize(
    ("text", "is_out", "meant"),
    [
        ("STOP", False, "stop"),
        ("  unsubscribe\n", False, "stop"),
        ("stop it", False, None),
        ("please stop", True, None),
        ("Info", False, "help"),
        ("yes", False, None),
        ("yes", True, "start"),
        ("START", False, None),
        ("UnStop", True, "start"),
        ("", False, None),
    ],
)
def test_a_whole_message_is_a_wish_or_none(text: str, is_out: bool, meant: str | None) -> None:
    """Words inside a sentence are the agent's; the words of opting in mean that only to who has opted out."""
    assert wish(text, is_out=is_out) == meant


def test_a_short_text_stays_whole() -> None:
    """Up to the limit there is one part, without the blanks around it, and none of nothing."""
    assert parted("x" * LONGEST) == ("x" * LONGEST,)
    assert parted("  Hello.\n") == ("Hello.",)
    assert parted(" \n ") == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two. Three.", ("One. Two.", "Three.")),
        ("One two three four", ("One two", "three four")),
        ("onetwothreefour", ("onetwothree", "four")),
        ("One.\n\nTwo. Three", ("One.", "Two. Three")),
    ],
)
def test_a_long_text_is_parted_where_it_hurts_least(text: str, parts: tuple[str, ...]) -> None:
    """Behind a paragraph, a sentence or a word; else anywhere; and no part is longer than allowed."""
    assert parted(text, 11) == parts
    assert all(len(part) <= 11 for part in parted(text, 11))
