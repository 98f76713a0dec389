"""CSV and TSV: each row with the names of its columns."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Final

from turncall_media.documents.blocks import Block, Unreadable
from turncall_media.documents.recognition import decoded

_SAMPLE: Final = 16 * 1024
_LARGEST_CELL: Final = 128 * 1024


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`."""
    text = decoded(data)
    csv.field_size_limit(_LARGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), _dialect(text[:_SAMPLE]))
    try:
        names = [name.strip() for name in next(rows, [])]
        is_alone = True
        for row in rows:
            is_alone = False
            pairs = [
                f"{name}: {cell.strip()}" if name else cell.strip()
                for name, cell in zip([*names, *[""] * len(row)], row, strict=False)
                if cell.strip()
            ]
            yield Block(text="; ".join(pairs))
            progressed()
    except csv.Error as error:
        raise Unreadable("corrupt", f"It cannot be read as CSV: {error}") from error
    if is_alone:
        yield Block(text="; ".join(names))


def _dialect(sample: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(sample, ",;\t|")
    except csv.Error:  # one column: there is nothing to find
        return csv.excel
