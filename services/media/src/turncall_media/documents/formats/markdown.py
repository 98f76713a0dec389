"""Markdown: headings, paragraphs, list items, rows of tables and code, as text."""

from collections.abc import Callable, Iterator
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from turncall_media.documents.blocks import Block
from turncall_media.documents.recognition import decoded

_READ: Final = MarkdownIt("commonmark").enable("table")


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`."""
    level, row, is_cell = 0, list[str](), False
    for token in _READ.parse(decoded(data)):
        match token.type:
            case "heading_open":
                level = int(token.tag[1])
            case "heading_close":
                level = 0
            case "th_open" | "td_open" | "th_close" | "td_close":
                is_cell = token.type.endswith("open")
            case "tr_close":
                yield Block(text=" | ".join(row))
                row = []
            case "inline" if is_cell:
                row.append(_text(token))
            case "inline":
                yield Block(text=_text(token), level=level)
            case "fence" | "code_block":
                yield Block(text=token.content)
        progressed()


def _text(token: Token) -> str:
    """The words without their markup; a link keeps its words and loses its address."""
    pieces = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            pieces.append("\n")
        elif child.type in ("text", "code_inline", "image"):
            pieces.append(child.content)
    return "".join(pieces)
