"""What a document's text consists of, and why there may be none. Nothing else is imported where files are parsed."""

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from msgspec import Struct

Reason = Literal[
    "empty",
    "unsupported",
    "mislabelled",
    "encrypted",
    "corrupt",
    "no_text",
    "too_large",
    "too_slow",
    "not_reached",
]
"""Why a document cannot be read, for programs."""

Format = Literal["pdf", "docx", "html", "markdown", "text", "csv", "json", "yaml"]


class Unreadable(Exception):
    """The document cannot be read. The message is for whoever uploaded it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class Block(Struct, frozen=True, kw_only=True):
    """A paragraph, a row of a table, a page; or a heading, whose ``level`` is from 1 (the highest) to 6. 0: no heading.

    ``page`` counts from 1.
    """

    text: str
    level: int = 0
    page: int | None = None


class FormatModule(Protocol):
    """The shape of ``documents/formats/<format>.py``."""

    def blocks(self, data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
        """The blocks of a file, in order. Raises `Unreadable`; whatever else it raises means that the file is corrupt.

        ``progressed`` is called wherever work that may take long gets on.
        """
        ...
