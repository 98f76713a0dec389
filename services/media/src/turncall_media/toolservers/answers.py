"""What the model gets to know of an MCP server's answer. Pure."""

from typing import Any

from mcp.types import CallToolResult, TextContent
from msgspec import json

from turncall_media.tools.answers import shortened
from turncall_media.tools.shape import ToolFailed


def answer(result: CallToolResult, max_bytes: int) -> Any:
    """The structured content if there is some, otherwise the text; what is neither is named, not shown.

    Raises `ToolFailed` with the server's own words when it says that it failed.
    """
    if result.structured_content is not None and not result.is_error:
        encoded = json.encode(result.structured_content)
        return result.structured_content if len(encoded) <= max_bytes else shortened(encoded, max_bytes)
    parts = [part.text if isinstance(part, TextContent) else f"[{part.type} left out]" for part in result.content]
    text = "\n".join(parts).encode()
    if result.is_error:
        raise ToolFailed(text[:max_bytes].decode("utf-8", errors="ignore") or "The function failed.")
    return text.decode() if len(text) <= max_bytes else shortened(text, max_bytes)
