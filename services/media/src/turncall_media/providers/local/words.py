"""What is said, as words to compare: the form in which recogniser and dialogue speak of it."""

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
"""Letters and digits of any script, with apostrophes inside: ``o'clock``."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text in order: lower case, no punctuation, hyphens divide."""
    return tuple(_WORD.findall(text.lower().replace("’", "'")))
