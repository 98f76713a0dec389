"""From the blocks of a document to passages: by its headings first, then by paragraphs, sentences, words. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from turncall_media.documents.blocks import Block
from turncall_proto.knowledge import CutPassage, Cutting

BETWEEN_HEADINGS: Final = " > "
LONGEST_HEADING: Final = 300
_SENTENCES: Final = re.compile(r"(?<=[.!?…。！？])\s+")


class _Piece(Struct, frozen=True):
    """Some text of one section, short enough for a passage."""

    text: str
    page: int | None


def passages(name: str, blocks: Iterable[Block], cutting: Cutting) -> tuple[CutPassage, ...]:
    """The passages of the document ``name``. None is longer than ``passage_characters``, and all text is in one."""
    return tuple(
        CutPassage(
            text=text,
            heading=heading,
            page=page,
            context=_context(name, heading) if cutting.context == "headings" else "",
        )
        for heading, pieces in _sections(blocks, cutting.passage_characters - cutting.overlap_characters - 1)
        for text, page in _joined(pieces, cutting)
    )


def _context(name: str, heading: str) -> str:
    title = name.rpartition(".")[0] or name
    return BETWEEN_HEADINGS.join(filter(None, (title.replace("_", " ").replace("-", " "), heading)))


def _sections(blocks: Iterable[Block], longest: int) -> Iterator[tuple[str, list[_Piece]]]:
    """The text under each heading, with the headings that lead to it."""
    above: list[tuple[int, str]] = []
    pieces: list[_Piece] = []
    for block in blocks:
        if not block.level:
            pieces += [_Piece(text, block.page) for text in split(block.text, longest)]
            continue
        if pieces or (above and above[-1][0] >= block.level):
            yield _section(above, pieces, longest)
            pieces = []
        above = [(level, text) for level, text in above if level < block.level]
        above.append((block.level, " ".join(block.text.split())))
    if pieces or above:
        yield _section(above, pieces, longest)


def _section(above: list[tuple[int, str]], pieces: list[_Piece], longest: int) -> tuple[str, list[_Piece]]:
    """What stands under the last heading; a heading with nothing under it is text itself."""
    if pieces:
        return _heading(above), pieces
    return _heading(above[:-1]), [_Piece(text, None) for text in split(above[-1][1], longest)]


def _heading(above: list[tuple[int, str]]) -> str:
    return BETWEEN_HEADINGS.join(text for _, text in above)[:LONGEST_HEADING]


def _joined(pieces: list[_Piece], cutting: Cutting) -> Iterator[tuple[str, int | None]]:
    """Neighbouring pieces as passages; each begins with the end of the one before. A page begins a new one, so that
    what is cited stands on the page that is named."""
    text, page = "", None
    for piece in pieces:
        if text and piece.page != page:
            yield text, page
            text = ""
        if text and len(text) + 1 + len(piece.text) > cutting.passage_characters:
            yield text, page
            kept = _tail(text, min(cutting.overlap_characters, cutting.passage_characters - len(piece.text) - 1))
            text, page = kept, piece.page
        page = piece.page if not text else page
        text = f"{text}\n{piece.text}" if text else piece.text
    if text:
        yield text, page


def _tail(text: str, longest: int) -> str:
    """The last whole sentences, or words, that are no longer."""
    if longest <= 0:
        return ""
    for units in (_SENTENCES.split(text), text.split()):
        kept: list[str] = []
        while units and len(" ".join((units[-1], *kept))) <= longest:
            kept.insert(0, units.pop())
        if kept:
            return " ".join(kept)
    return ""


def split(text: str, longest: int) -> list[str]:
    """The text in pieces that are no longer: at lines, else at sentences, else at words, else anywhere."""
    text = text.strip()
    if len(text) <= longest:
        return [text] if text else []
    for units, glue in ((text.split("\n"), "\n"), (_SENTENCES.split(text), " "), (text.split(), " ")):
        units = [unit.strip() for unit in units if unit.strip()]
        if len(units) > 1:
            return [part for whole in _filled(units, glue, longest) for part in split(whole, longest)]
    return [text[start : start + longest] for start in range(0, len(text), longest)]


def _filled(units: Iterable[str], glue: str, longest: int) -> Iterator[str]:
    """Units put together as far as they fit; one that is longer stays by itself."""
    line = ""
    for unit in units:
        if line and len(line) + len(glue) + len(unit) > longest:
            yield line
            line = unit
        else:
            line = f"{line}{glue}{unit}" if line else unit
    yield line
