"""The models behind Amazon Bedrock, with tools, through its Converse API."""

from typing import Annotated, Any

import httpx2
from msgspec import Meta, Struct
from pipecat.services.aws.llm import AWSBedrockLLMService, AWSBedrockLLMSettings
from pipecat.utils.errors import ErrorCategory

from turncall_media.providers.aws.access import authority
from turncall_media.providers.aws.converse import Converse
from turncall_media.providers.aws.server import BEDROCK, Region
from turncall_media.stages import web
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import MaxTokens, OwnUrl, Temperature, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, where, and how it answers. The key is a Bedrock API key, or an access key as ``id:secret``, with a
    session token behind another colon if it has one."""

    model: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9.:/_-]{1,300}$(?!\n)", description="A model's or an inference profile's id or ARN."),
    ] = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    region: Region = "us-east-1"
    base_url: OwnUrl = ""
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    prompt_caching: Annotated[bool, Meta(description="For models that can read prompt and tools once.")] = False
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> AWSBedrockLLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    http = web.client("aws", options.base_url, options.timeout_ms, context)
    return BedrockLLMService(options, http, context.secret or "none")


def warm() -> None:
    """Loads what all clients share."""
    web.warm()


class BedrockLLMService(AWSBedrockLLMService):
    """Pipecat's service over a client of ours, which it owns."""

    def __init__(self, options: Options, http: httpx2.AsyncClient, key: str) -> None:
        given: dict[str, Any] = {"temperature": options.temperature, "max_tokens": options.max_tokens}
        super().__init__(
            aws_region=options.region,
            settings=AWSBedrockLLMSettings(
                model=options.model,
                enable_prompt_caching=options.prompt_caching,
                **{name: value for name, value in given.items() if value is not None},
            ),
        )
        self._ours = http
        server = options.base_url.rstrip("/") or BEDROCK.format(region=options.region)
        self._aws_session = Converse(server, authority(key, options.region), http)

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._ours.aclose()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return web.category(exception)
