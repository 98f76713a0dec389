"""Answers that are longer than a model should read."""

from typing import Any


def shortened(answer: bytes, max_bytes: int) -> dict[str, Any]:
    """The beginning of ``answer`` (UTF-8), and that there was more."""
    beginning = answer[:max_bytes].decode("utf-8", errors="ignore")
    note = f"The answer was longer than {max_bytes} bytes: this is its beginning, the rest is unknown."
    return {"is_truncated": True, "note": note, "beginning": beginning}
