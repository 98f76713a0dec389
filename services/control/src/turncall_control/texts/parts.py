"""A message that is longer than a carrier takes at once, in parts."""

from collections.abc import Mapping
from typing import Final

LONGEST: Final = 1600
"""Characters that Twilio takes as one message; it travels in segments that the phone joins (Twilio, 21617)."""
LONGEST_OF: Final[Mapping[str, int]] = {"twilio": LONGEST, "whatsapp": 4096}
"""By carrier."""
_ENDS: Final = ("\n\n", "\n", ". ", "! ", "? ", "; ", ", ", " ")
"""Where a text is best parted, best first."""
_SHORTEST: Final = LONGEST // 2


def parted(text: str, longest: int = LONGEST) -> tuple[str, ...]:
    """The text in parts of ``longest`` characters at most, none of them blank: parted behind a paragraph, else a
    sentence, else a word, else anywhere."""
    parts: list[str] = []
    rest = text.strip()
    while len(rest) > longest:
        at = _break(rest[: longest + 1], longest)
        parts.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    return tuple(part for part in (*parts, rest) if part)


def _break(window: str, longest: int) -> int:
    for end in _ENDS:
        at = window.rfind(end)
        if at >= min(_SHORTEST, longest // 2):
            return min(at + len(end), longest)
    return longest
