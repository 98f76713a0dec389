"""What lists are narrowed to, read from query parameters."""

from collections.abc import Sequence

from turncall_control.errors import Invalid


def marks(given: Sequence[str]) -> dict[str, str]:
    """Metadata as ``key:value`` each; a key has no colon, a value may. Raises `Invalid`."""
    found: dict[str, str] = {}
    for text in given:
        key, colon, value = text.partition(":")
        if not colon or not key:
            raise Invalid.at("metadata", "Write it as key:value")
        if found.setdefault(key, value) != value:
            raise Invalid.at("metadata", f"Nothing has two values of {key}")
    return found
