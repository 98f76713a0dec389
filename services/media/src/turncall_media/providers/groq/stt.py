"""Transcription with Whisper, of Groq."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_media.providers.groq.server import GROQ
from turncall_media.stages import compatible
from turncall_media.stages.compatible import CompatibleSTTService, GatewayUrl
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and what helps it."""

    model: Annotated[str, Meta(min_length=1, max_length=200)] = "whisper-large-v3-turbo"
    base_url: GatewayUrl = ""
    prompt: Annotated[str, Meta(max_length=2000, description="Names and words that callers are likely to say.")] = ""
    temperature: Annotated[float, Meta(ge=0, le=1, description="0 is the most literal.")] | None = None
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> CompatibleSTTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return CompatibleSTTService(
        compatible.connect("groq", GROQ, options.base_url, options.timeout_ms, context),
        context,
        model=options.model,
        prompt=options.prompt,
        temperature=options.temperature,
    )


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()
