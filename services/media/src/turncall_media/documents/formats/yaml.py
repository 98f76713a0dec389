"""YAML, one document or several: as JSON."""

from collections.abc import Callable, Iterator

import yaml

from turncall_media.documents import trees
from turncall_media.documents.blocks import Block, Unreadable
from turncall_media.documents.recognition import decoded


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`. An alias is followed wherever it stands: what swells by that comes to an end like any text
    that is too long."""
    try:
        for tree in yaml.safe_load_all(decoded(data)):
            yield from trees.blocks(tree, progressed)
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable("corrupt", f"It is no YAML: {error}") from error
