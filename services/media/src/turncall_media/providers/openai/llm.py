"""Chat completions with tools, of OpenAI and of every server that speaks its protocol: Ollama, vLLM, LocalAI…"""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from openai import AsyncOpenAI
from pipecat.services.openai.base_llm import OpenAILLMSettings
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.utils.errors import ErrorCategory

from turncall_media.kinds import BuildContext, Capabilities
from turncall_media.providers.openai import server
from turncall_media.providers.openai.server import BaseUrl, Model, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
OPTIONS_RULES = server.NAMED_IF_COMPATIBLE

_MODEL: Final = "gpt-4.1"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it answers."""

    model: Model = ""
    base_url: BaseUrl = ""
    temperature: Annotated[float, Meta(ge=0, le=2, description="Higher is more varied.")] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=100_000, description="Longest reply, in tokens.")] | None = None
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        server.need_model(self.base_url, self.model)


def build(options: Options, context: BuildContext) -> OpenAILLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return CompatibleLLMService(options, server.connect(options.base_url, options.timeout_ms, context))


def warm() -> None:
    """Loads what all clients share."""
    server.warm()


class CompatibleLLMService(OpenAILLMService):
    """Pipecat's service over a client of ours, which it owns."""

    def __init__(self, options: Options, client: AsyncOpenAI) -> None:
        self._ours = client
        super().__init__(settings=_settings(options))
        # "developer" is OpenAI's own name for the system's role in the middle of a conversation.
        self.supports_developer_role = not options.base_url

    def create_client(self, *_: object, **__: object) -> AsyncOpenAI:
        """The client given."""
        return self._ours

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._ours.close()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return server.category(exception)


def _settings(options: Options) -> OpenAILLMSettings:
    given: dict[str, Any] = {"model": options.model or _MODEL}
    if options.temperature is not None:
        given["temperature"] = options.temperature
    if options.max_tokens is not None:
        # OpenAI's newer models refuse the older name; other servers know only that one.
        given["max_tokens" if options.base_url else "max_completion_tokens"] = options.max_tokens
    return OpenAILLMSettings(**given)
