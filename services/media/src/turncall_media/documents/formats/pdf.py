"""PDF: page by page, with the titles of its outline as headings. What stands on every page is left out."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from pypdf import PasswordType, PdfReader
from pypdf.errors import FileNotDecryptedError, LimitReachedError, PyPdfError
from pypdf.generic import Destination

from turncall_media.documents.blocks import Block, Unreadable

MOST_PAGES: Final = 3000
RUNNING_LINES: Final = 2
"""Lines at the top and at the bottom of a page that may be the same on all of them."""
_DEEPEST: Final = 6
_DIGITS: Final = re.compile(r"\d+")


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`."""
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise Unreadable("encrypted", "The PDF asks for a password")
        pages = reader.pages
        if len(pages) > MOST_PAGES:
            raise Unreadable("too_large", f"It has {len(pages)} pages; {MOST_PAGES} are the most")
        texts = []
        for page in pages:
            texts.append(page.extract_text().splitlines())
            progressed()
        titles = _titles(reader, reader.outline, 1)
    except LimitReachedError as error:
        raise Unreadable("too_large", f"What it unpacks to is too large: {error}") from error
    except FileNotDecryptedError as error:
        raise Unreadable("encrypted", "The PDF asks for a password") from error
    except PyPdfError as error:
        raise Unreadable("corrupt", f"The PDF is damaged: {error}") from error
    for number, lines in enumerate(without_running_lines(texts), start=1):
        yield from _page(lines, number, titles.get(number, {}))


def _titles(reader: PdfReader, outline: Sequence[Any], level: int) -> dict[int, dict[str, int]]:
    """The titles of the outline by the number of their page, with their level."""
    found: dict[int, dict[str, int]] = {}
    for entry in outline:
        if isinstance(entry, list):
            if level < _DEEPEST:
                for page, titles in _titles(reader, entry, level + 1).items():
                    found.setdefault(page, {}).update(titles)
        elif isinstance(entry, Destination) and entry.title:
            number = reader.get_destination_page_number(entry)
            if number is not None:
                found.setdefault(number + 1, {})[_plain(str(entry.title))] = level
    return found


def _page(lines: Sequence[str], number: int, titles: dict[str, int]) -> Iterator[Block]:
    text: list[str] = []
    for line in lines:
        level = titles.get(_plain(line))
        if level is not None:
            yield Block(text="\n".join(text), page=number)
            yield Block(text=line.strip(), level=level, page=number)
            text = []
        else:
            text.append(line)
    yield Block(text="\n".join(text), page=number)


def without_running_lines(pages: Sequence[Sequence[str]]) -> list[list[str]]:
    """The pages without lines that stand at the edge of more than half of them, numbers aside; of four at least. A page
    that is nothing but edges is text."""
    if len(pages) < 4:
        return [list(page) for page in pages]
    counts = Counter(line for page in pages for line in {_bare(edge) for edge in _edges(page)})
    running = {line for line, count in counts.items() if line and count > len(pages) / 2}
    return [
        [line for place, line in enumerate(page) if not (_is_edge(place, len(page)) and _bare(line) in running)]
        for page in pages
    ]


def _edges(page: Sequence[str]) -> list[str]:
    return [line for place, line in enumerate(page) if _is_edge(place, len(page))]


def _is_edge(place: int, lines: int) -> bool:
    is_outside = place < RUNNING_LINES or place >= lines - RUNNING_LINES
    return is_outside and lines > 2 * RUNNING_LINES


def _bare(line: str) -> str:
    return _DIGITS.sub("#", _plain(line))


def _plain(line: str) -> str:
    return " ".join(line.split()).casefold()
