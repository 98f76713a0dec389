"""DOCX: paragraphs and tables in their order, headings by their style. The archive is looked at before it is opened."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Final

from docx import Document
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table
from docx.text.paragraph import Paragraph

from turncall_media.documents.blocks import Block, Unreadable

MOST_ENTRIES: Final = 2000
LARGEST_UNPACKED: Final = 64 * 1024 * 1024
LARGEST_RATIO: Final = 100
"""Text packs to a tenth; what packs to a hundredth is made to swell."""
_HEADING: Final = re.compile(r"^(?:Heading|Title)\s*(\d?)$")


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`."""
    try:
        check_archive(data)
        document = Document(io.BytesIO(data))
    except (zipfile.BadZipFile, PackageNotFoundError) as error:
        raise Unreadable("corrupt", f"The DOCX is damaged: {error}") from error
    for part in document.iter_inner_content():
        if isinstance(part, Paragraph):
            yield Block(text=part.text, level=_level(part))
        elif isinstance(part, Table):
            yield from _rows(part)
        progressed()


def check_archive(data: bytes) -> None:
    """Raises `Unreadable` for an archive that unpacks to too much, holds another one, or is encrypted; and
    `zipfile.BadZipFile`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable("encrypted", "The DOCX asks for a password")
    if len(entries) > MOST_ENTRIES or unpacked > LARGEST_UNPACKED:
        raise Unreadable("too_large", f"It unpacks to {unpacked} bytes in {len(entries)} files")
    if any(
        entry.file_size > 1024 * 1024 and entry.file_size > LARGEST_RATIO * entry.compress_size for entry in entries
    ):
        raise Unreadable("too_large", "It is packed so densely that it can only be made to swell")


def _level(paragraph: Paragraph) -> int:
    found = _HEADING.match((paragraph.style and paragraph.style.name) or "")
    return 0 if found is None else min(6, int(found[1] or 1))


def _rows(table: Table) -> Iterator[Block]:
    """Each row with the names of its columns, where the first row has some."""
    names: list[str] = []
    for place, row in enumerate(table.rows):
        cells = [" ".join(cell.text.split()) for cell in row.cells]
        if place == 0 and len(table.rows) > 1:
            names = cells
            continue
        paired = [
            f"{name}: {cell}" if name else cell for name, cell in zip(names or [""] * len(cells), cells, strict=False)
        ]
        yield Block(text="; ".join(pair for pair, cell in zip(paired, cells, strict=True) if cell))
