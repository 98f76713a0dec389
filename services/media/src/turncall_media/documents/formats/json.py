"""JSON: each object that holds plain values as one paragraph, under the names that lead to it."""

import json
from collections.abc import Callable, Iterator

from turncall_media.documents import trees
from turncall_media.documents.blocks import Block, Unreadable
from turncall_media.documents.recognition import decoded


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`."""
    try:
        tree = json.loads(decoded(data))
    except (ValueError, RecursionError) as error:
        raise Unreadable("corrupt", f"It is no JSON: {error}") from error
    yield from trees.blocks(tree, progressed)
