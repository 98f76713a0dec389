"""The server behind OpenAI's three capabilities: OpenAI's own, or a compatible one that the user names."""

from typing import Annotated, Any, Final

from msgspec import Meta
from openai import AsyncOpenAI

from turncall_media.stages import compatible, web
from turncall_media.stages.kinds import BuildContext

OPENAI: Final = "https://api.openai.com/v1"

BaseUrl = Annotated[
    str,
    Meta(
        pattern=web.URL,
        max_length=2048,
        description="A compatible server, up to and with its /v1; empty for OpenAI's own. It never gets OpenAI's key "
        "of this installation.",
    ),
]
Model = Annotated[
    str, Meta(max_length=200, description="Empty for a good one of OpenAI's; a server of your own must have it named.")
]

NAMED_IF_COMPATIBLE: Final[dict[str, Any]] = {
    "if": {"required": ["base_url"], "properties": {"base_url": {"minLength": 1}}},
    "then": {"required": ["model"], "properties": {"model": {"minLength": 1}}},
}
"""JSON Schema of what `need_model` checks."""


def need_model(base_url: str, model: str) -> None:
    """Raises `ValueError` for a compatible server whose model is not named: it knows none of OpenAI's."""
    if base_url and not model:
        raise ValueError("model must be named when base_url is")


def connect(base_url: str, timeout_ms: int, context: BuildContext) -> AsyncOpenAI:
    """As `compatible.connect`."""
    return compatible.connect("openai", OPENAI, base_url, timeout_ms, context)
