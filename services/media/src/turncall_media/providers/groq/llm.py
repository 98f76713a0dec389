"""Chat completions with tools, of Groq."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_media.providers.groq.server import GROQ
from turncall_media.stages import compatible
from turncall_media.stages.compatible import CompatibleLLMService, GatewayUrl
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import MaxTokens, Temperature, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it answers."""

    model: Annotated[str, Meta(min_length=1, max_length=200)] = "openai/gpt-oss-120b"
    base_url: GatewayUrl = ""
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    timeout_ms: TimeoutMs = 5_000


def build(options: Options, context: BuildContext) -> CompatibleLLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return CompatibleLLMService(
        compatible.llm_settings(options.model, options.temperature, {"max_completion_tokens": options.max_tokens}),
        compatible.connect("groq", GROQ, options.base_url, options.timeout_ms, context),
    )


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()
