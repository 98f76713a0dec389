"""A text that must fit a pattern fits it to its end: Python's ``$`` would let a line end follow."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from turncall_proto.publish import SCHEMA_FOLDER

TEXTS = (
    "shop_hours",
    "A1b2",
    "en-US",
    "+14155550100",
    "https://example.com",
    "#",
    "17",
    "09:00",
    "US",
    "agt_" + "0" * 32,
)


def patterns(schema: Any) -> Iterator[str]:
    """Every pattern in a document."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for part in schema.values():
            yield from patterns(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from patterns(part)


DOCUMENTS = [msgspec.json.decode(path.read_bytes()) for path in sorted(SCHEMA_FOLDER.glob("*.json"))]
PATTERNS = sorted({pattern for document in DOCUMENTS for pattern in patterns(document)})
BOUNDED = [pattern for pattern in PATTERNS if "$" in pattern]


def test_the_documents_are_full_of_patterns() -> None:
    """Otherwise the next test would hold whatever they say."""
    assert len(BOUNDED) > 30
    assert any(re.search(pattern, text) for pattern in BOUNDED for text in TEXTS)


@pytest.mark.parametrize("pattern", BOUNDED)
def test_nothing_follows_what_fits(pattern: str) -> None:
    """Decoders search, as JSON Schema has it; what passes goes into rows, headers and a carrier's requests."""
    assert not pattern.endswith("$"), f"end it with $(?!\\n): {pattern}"
    assert [text for text in TEXTS if re.search(pattern, text + "\n")] == []
