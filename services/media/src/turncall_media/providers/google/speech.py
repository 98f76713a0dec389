"""Gemini Live: one model that hears and speaks, over one websocket.

Pipecat's service takes turns by the server's own voice detection, connects past the egress wall, and tells the caller's
words apart by their punctuation.
"""

import re
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from pipecat.services.llm_service import LLMService

from turncall_media.providers.google.live import LiveService
from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, TimeoutMs
from turncall_media.stages.locales import located

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 24_000),
    interim_results=True,
)
GEMINI: Final = "https://generativelanguage.googleapis.com"
UNFIT: Final = r"^gemini-([12][.-]|3\.[0-7]|.*thinking)"
"""Models that answer without what they were told before, or go on thinking and talking behind their answer."""
OPTIONS_RULES: Final[dict[str, Any]] = {"not": {"required": ["model"], "properties": {"model": {"pattern": UNFIT}}}}
_is_unfit = re.compile(UNFIT).match


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it sounds and answers."""

    model: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9.-]{1,100}$(?!\n)",
            description="A Live model from Gemini 3.8 on, none of extended thinking.",
        ),
    ] = "gemini-3.8-live"
    voice: Annotated[str, Meta(pattern=r"^[A-Za-z]{1,100}$(?!\n)", description="One of Gemini's.")] = "Kore"
    base_url: BaseUrl = ""
    temperature: Annotated[float, Meta(ge=0, le=2, description="Higher is more varied.")] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=8192, description="Longest reply, sound included.")] | None = None
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        if _is_unfit(self.model):
            raise ValueError("model must be a Live model from Gemini 3.8 on, without extended thinking")


def build(options: Options, context: BuildContext) -> LLMService[Any]:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    line = lines.line("google", GEMINI, options.base_url, options.timeout_ms, context)
    generation: dict[str, Any] = {
        "responseModalities": ["AUDIO"],
        "speechConfig": {
            "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": options.voice}},
            "languageCode": located(context.language),
        },
    }
    if options.temperature is not None:
        generation["temperature"] = options.temperature
    if options.max_tokens is not None:
        generation["maxOutputTokens"] = options.max_tokens
    return LiveService(options.model, generation, line, context)


def warm() -> None:
    """Loads the trusted certificates."""
    lines.warm()
