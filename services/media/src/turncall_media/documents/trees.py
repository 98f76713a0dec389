"""Nested data as text: what is said of one thing stays together, under the names that lead to it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from turncall_media.documents.blocks import Block, Unreadable

DEEPEST: Final = 64


def blocks(tree: Any, progressed: Callable[[], None], path: tuple[str, ...] = ()) -> Iterator[Block]:
    """A block for each mapping's plain values, and a heading for each name that leads to more. Raises `Unreadable`."""
    if len(path) > DEEPEST:
        raise Unreadable("too_large", f"It is nested more than {DEEPEST} times")
    progressed()
    match tree:
        case dict():
            plain = {name: value for name, value in tree.items() if _is_plain(value)}
            if plain:
                yield Block(text=_pairs(plain))
            for name, value in tree.items():
                if not _is_plain(value):
                    yield Block(text=str(name), level=min(6, len(path) + 1))
                    yield from blocks(value, progressed, (*path, str(name)))
        case list() if tree and _is_plain(tree):
            yield Block(text=", ".join(map(str, tree)))
        case list() | tuple():
            for value in tree:
                yield from blocks(value, progressed, (*path, ""))
        case None:
            return
        case _:
            yield Block(text=str(tree))


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(not isinstance(one, dict | list) for one in value)
    return not isinstance(value, dict)


def _pairs(values: Mapping[Any, Any]) -> str:
    return "; ".join(
        f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in values.items()
        if value not in (None, "", [])
    )
