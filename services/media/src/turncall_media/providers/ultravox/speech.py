"""Ultravox: one model that hears and speaks, in a call of its vendor's that is joined over a websocket.

Pipecat's service has no egress wall, tells a new call nothing of what was said, and has a call only once.
"""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from pipecat.services.llm_service import LLMService

from turncall_media.providers.ultravox.joined import UltravoxService
from turncall_media.stages import lines, web
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 24_000, 48_000),
)
ULTRAVOX: Final = "https://api.ultravox.ai"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it sounds and answers. The language is the agent's."""

    model: Annotated[str, Meta(min_length=1, max_length=100)] = "ultravox-v0.7"
    voice: Annotated[str, Meta(min_length=1, max_length=100, description="Its name or its id.")] = "Mark"
    base_url: BaseUrl = ""
    temperature: Annotated[float, Meta(ge=0, le=1, description="Higher is more varied.")] | None = None
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> LLMService[Any]:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("ultravox", ULTRAVOX, options.base_url, options.timeout_ms, context)
    asked: dict[str, Any] = {"model": options.model, "voice": options.voice, "languageHint": context.language}
    if options.temperature is not None:
        asked["temperature"] = options.temperature
    http = web.client("ultravox", options.base_url, options.timeout_ms, context)
    return UltravoxService(options.base_url.rstrip("/") or ULTRAVOX, asked, http, line, context)


def warm() -> None:
    """Loads the trusted certificates."""
    lines.warm()
