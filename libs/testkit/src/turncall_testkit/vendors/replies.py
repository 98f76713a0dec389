"""What fakes answer and hear, whatever protocol they speak."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

INPUT_TOKENS: Final = 12
OUTPUT_TOKENS: Final = 7
INTERIM_EVERY_S: Final = 0.5
"""Of audio: how often a transcription says what it has understood so far."""
_ARGUMENT_PIECE: Final = 4
"""Characters of a tool's arguments in one event."""


class Call(Struct, frozen=True, kw_only=True):
    """A call of a tool, as the model writes it. ``written`` stands in the place of arguments that are no JSON."""

    name: str
    arguments: Mapping[str, Any] = {}
    written: str = ""

    def pieces(self) -> list[str]:
        """The arguments as they are streamed."""
        text = self.written or msgspec.json.encode(self.arguments).decode()
        return [text[start : start + _ARGUMENT_PIECE] for start in range(0, len(text), _ARGUMENT_PIECE)]


class Reply(Struct, frozen=True, kw_only=True):
    """One answer of the model: words, then calls."""

    text: str = ""
    calls: tuple[Call, ...] = ()


class Replies:
    """Given in turn, the last one ever after."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = list(replies)

    def next(self) -> Reply:
        """The reply to one request."""
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


class Transcripts:
    """Heard in turn, the last one ever after."""

    def __init__(self, transcripts: Sequence[str]) -> None:
        self._transcripts = list(transcripts)

    @property
    def first_word(self) -> str:
        """Of the one that is heard next."""
        return self._transcripts[0].split()[0]

    def next(self) -> str:
        """The words of one utterance."""
        return self._transcripts.pop(0) if len(self._transcripts) > 1 else self._transcripts[0]


def words(text: str) -> list[str]:
    """The text in the pieces in which a model writes it."""
    return re.findall(r"\s*\S+", text)
