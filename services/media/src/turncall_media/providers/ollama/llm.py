"""Chat completions with tools, of an Ollama that the user runs. The operator opens its network to the workers."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_media.stages import compatible
from turncall_media.stages.compatible import CompatibleLLMService
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import MaxTokens, Temperature, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=False, takes_base_url=True)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, where, and how it answers."""

    model: Annotated[
        str, Meta(min_length=1, max_length=200, description="One that was pulled; it must know tools.")
    ] = "llama3.2"
    base_url: Annotated[
        str, Meta(pattern=r"^https?://.+$(?!\n)", max_length=2048, description="Up to and with its /v1.")
    ] = "http://localhost:11434/v1"
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    timeout_ms: TimeoutMs = 20_000


def build(options: Options, context: BuildContext) -> CompatibleLLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to."""
    return CompatibleLLMService(
        compatible.llm_settings(options.model, options.temperature, {"max_tokens": options.max_tokens}),
        compatible.connect("ollama", options.base_url, options.base_url, options.timeout_ms, context),
    )


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()
