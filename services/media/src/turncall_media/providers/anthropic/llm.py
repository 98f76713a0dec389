"""Claude's messages with tools, streamed."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from anthropic import AsyncAnthropic
from msgspec import Meta, Struct
from pipecat.adapters.llm.services.anthropic_adapter import AnthropicLLMInvocationParams
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.anthropic.llm import AnthropicLLMService, AnthropicLLMSettings
from pipecat.utils.errors import ErrorCategory

from turncall_media.answers import Arguments
from turncall_media.stages import web
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import MaxTokens, OwnUrl, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
ANTHROPIC: Final = "https://api.anthropic.com"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it answers."""

    model: Annotated[str, Meta(min_length=1, max_length=200)] = "claude-haiku-4-5"
    base_url: OwnUrl = ""
    temperature: (
        Annotated[float, Meta(ge=0, le=1, description="Higher is more varied; only older models heed it.")] | None
    ) = None
    max_tokens: MaxTokens = 1024
    prompt_caching: Annotated[
        bool,
        Meta(
            description="Prompt and tools are read once for all turns; Anthropic bills the first time a quarter more."
        ),
    ] = True
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> AnthropicLLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    client = AsyncAnthropic(
        api_key=context.secret or "none",
        base_url=options.base_url or ANTHROPIC,
        http_client=web.client("anthropic", options.base_url, options.timeout_ms, context),
        timeout=web.patience(options.timeout_ms),
        max_retries=0,
    )
    return ClaudeLLMService(options, client)


def warm() -> None:
    """Loads what all clients share."""
    web.warm()


class ClaudeLLMService(AnthropicLLMService):
    """Pipecat's service over a client of ours, which it owns."""

    def __init__(self, options: Options, client: AsyncAnthropic) -> None:
        given: dict[str, Any] = {} if options.temperature is None else {"temperature": options.temperature}
        super().__init__(
            api_key=client.api_key or "none",
            client=client,
            settings=AnthropicLLMSettings(
                model=options.model,
                max_tokens=options.max_tokens,
                enable_prompt_caching=options.prompt_caching,
                **given,
            ),
        )

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._client.close()

    async def _create_message_stream(self, api_call: Any, params: Any) -> AsyncIterator[Any]:
        stream = await super()._create_message_stream(api_call, params)  # type: ignore[no-untyped-call]
        return web.told(_whole(stream))

    async def _get_llm_invocation_params(self, context: LLMContext) -> AnthropicLLMInvocationParams:
        """One tool at a time: of several in one answer, Pipecat runs the last and forgets the others."""
        params: Any = await super()._get_llm_invocation_params(context)
        if params.get("tools"):
            params["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
        return params  # type: ignore[no-any-return]  # what Pipecat's own method returns

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return web.category(exception)


async def _whole(events: Any) -> AsyncIterator[Any]:
    """The same events. Raises `NoAnswer` for calls that cannot be made, before the event with which they would be."""
    arguments = Arguments()
    async with events:
        async for event in events:
            if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                arguments.add(event.index, event.delta.partial_json)
            elif event.type == "message_delta":
                arguments.check(may_be_missing=True)
            yield event
