"""Chat completions with tools, of the models behind OpenRouter, which falls back from one to the next by itself."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from turncall_media.stages import compatible
from turncall_media.stages.compatible import CompatibleLLMService, GatewayUrl
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import MaxTokens, Temperature, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
OPENROUTER: Final = "https://openrouter.ai/api/v1"

ModelName = Annotated[str, Meta(min_length=1, max_length=200)]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which models, and how they answer."""

    model: ModelName = "openai/gpt-4.1"
    fallback_models: Annotated[
        tuple[ModelName, ...],
        Meta(max_length=8, description="Asked in this order, by OpenRouter, when the first cannot answer."),
    ] = ()
    base_url: GatewayUrl = ""
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> CompatibleLLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    models = [options.model, *options.fallback_models]
    extra = {"extra_body": {"models": models}} if options.fallback_models else None
    return CompatibleLLMService(
        compatible.llm_settings(options.model, options.temperature, {"max_tokens": options.max_tokens}, extra=extra),
        compatible.connect("openrouter", OPENROUTER, options.base_url, options.timeout_ms, context),
    )


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()
