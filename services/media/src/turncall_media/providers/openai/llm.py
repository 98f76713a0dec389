"""Chat completions with tools, of OpenAI and of every server that speaks its protocol: vLLM, LocalAI, LiteLLM…"""

from typing import Final

from msgspec import Struct

from turncall_media.providers.openai import server
from turncall_media.providers.openai.server import BaseUrl, Model
from turncall_media.stages import compatible
from turncall_media.stages.compatible import CompatibleLLMService
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import MaxTokens, Temperature, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
OPTIONS_RULES = server.NAMED_IF_COMPATIBLE

_MODEL: Final = "gpt-4.1"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it answers."""

    model: Model = ""
    base_url: BaseUrl = ""
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        server.need_model(self.base_url, self.model)


def build(options: Options, context: BuildContext) -> CompatibleLLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    # OpenAI's newer models refuse the older name of the limit; other servers know only that one.
    limit = "max_tokens" if options.base_url else "max_completion_tokens"
    return CompatibleLLMService(
        compatible.llm_settings(options.model or _MODEL, options.temperature, {limit: options.max_tokens}),
        server.connect(options.base_url, options.timeout_ms, context),
        knows_developers=not options.base_url,
    )


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()
