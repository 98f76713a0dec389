"""Plain text: its paragraphs."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from turncall_media.documents.blocks import Block
from turncall_media.documents.recognition import decoded

_BETWEEN: Final = re.compile(r"\n[ \t\r\f]*\n")


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`."""
    for paragraph in _BETWEEN.split(decoded(data)):
        yield Block(text=paragraph)
        progressed()
