"""Gemini's streamed content with tools."""

from typing import Annotated, Any, Final

import httpx2
from google import genai
from google.genai.errors import APIError
from google.genai.types import HttpOptions
from msgspec import Meta, Struct
from pipecat.services.google.llm import GoogleLLMService, GoogleLLMSettings
from pipecat.utils.errors import ErrorCategory, classify_http_status_code

from turncall_egress.httpx2_transport import trusted
from turncall_media.stages import web
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import MaxTokens, OwnUrl, Temperature, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
GEMINI: Final = "https://generativelanguage.googleapis.com"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how it answers."""

    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$(?!\n)")] = "gemini-2.5-flash"
    base_url: OwnUrl = ""
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> GoogleLLMService:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    http = web.client("google", options.base_url, options.timeout_ms, context)
    return GeminiLLMService(options, http, context.secret or "none")


def warm() -> None:
    """Loads what all clients share."""
    web.warm()


class GeminiLLMService(GoogleLLMService):
    """Pipecat's service over a client of ours, which it owns."""

    def __init__(self, options: Options, http: httpx2.AsyncClient, key: str) -> None:
        self._ours = http
        self._server = options.base_url or GEMINI
        given: dict[str, Any] = {"temperature": options.temperature, "max_tokens": options.max_tokens}
        super().__init__(
            api_key=key,
            stream_idle_timeout_secs=options.timeout_ms / 1000,
            settings=GoogleLLMSettings(
                model=options.model, **{name: value for name, value in given.items() if value is not None}
            ),
        )

    def create_client(self) -> None:
        """The SDK's client over ours. The second one is never used; left out, the SDK loads certificates for it."""
        self._client = genai.Client(
            api_key=self._api_key,
            vertexai=False,
            http_options=HttpOptions(
                base_url=self._server,
                httpx_client=httpx2.Client(verify=trusted()),
                httpx_async_client=self._ours,
            ),
        )

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._ours.aclose()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        if isinstance(exception, APIError):
            return classify_http_status_code(exception.code)
        return web.category(exception)
