"""Transcription of OpenAI and of every server that speaks its protocol: Groq, LocalAI, faster-whisper-server…"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from turncall_media.providers.openai import server
from turncall_media.providers.openai.server import BaseUrl, Model
from turncall_media.stages import compatible
from turncall_media.stages.compatible import CompatibleSTTService
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
OPTIONS_RULES = server.NAMED_IF_COMPATIBLE

_MODEL: Final = "gpt-transcribe"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and what helps it."""

    model: Model = ""
    base_url: BaseUrl = ""
    prompt: Annotated[str, Meta(max_length=2000, description="Names and words that callers are likely to say.")] = ""
    temperature: Annotated[float, Meta(ge=0, le=1, description="0 is the most literal.")] | None = None
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        server.need_model(self.base_url, self.model)


def build(options: Options, context: BuildContext) -> CompatibleSTTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return CompatibleSTTService(
        server.connect(options.base_url, options.timeout_ms, context),
        context,
        model=options.model or _MODEL,
        prompt=options.prompt,
        temperature=options.temperature,
    )


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()
