"""What vendors that speak OpenAI's protocol share: clients over connections of ours, and the model's service."""

import ssl
from collections.abc import Iterator
from typing import Annotated, Any, Final

import httpx2
from msgspec import Meta
from openai import APIConnectionError, AsyncOpenAI
from pipecat.services.openai.base_llm import OpenAILLMSettings
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.utils.errors import ErrorCategory

from turncall_egress import Refused, Wall, checked_url
from turncall_egress.httpx2_transport import trusted, walled_client
from turncall_media.errors import VendorUnusable
from turncall_media.kinds import BuildContext

CONNECT_WITHIN_S: Final = 5.0
URL: Final = r"^(https?://.+)?$"

Temperature = Annotated[float, Meta(ge=0, le=2, description="Higher is more varied.")]
MaxTokens = Annotated[int, Meta(ge=1, le=100_000, description="Longest reply, in tokens.")]
TimeoutMs = Annotated[
    int,
    Meta(ge=100, le=120_000, description="Silence of the server, before an answer or within it, that is a failure."),
]
GatewayUrl = Annotated[
    str,
    Meta(
        pattern=URL,
        max_length=2048,
        description="A gateway of your own, up to and with its /v1; empty for the vendor's. It never gets the vendor's "
        "key of this installation.",
    ),
]


def connect(vendor: str, hosted: str, base_url: str, timeout_ms: int, context: BuildContext) -> AsyncOpenAI:
    """A client that connects when it is first used; its owner closes it. Never asks twice: the pipeline decides that.

    ``hosted`` is the vendor's own server. A user's server, ``base_url``, is reached through the wall. Raises
    `VendorUnusable` for its URL's form, or without a key for the vendor's own. No key, organisation or project comes
    from the environment, where the SDK would look for them.
    """
    timeout = httpx2.Timeout(timeout_ms / 1000, connect=min(CONNECT_WITHIN_S, timeout_ms / 1000))
    if base_url:
        try:
            checked_url(base_url)
        except Refused as error:
            raise VendorUnusable(f"the base_url of vendor {vendor} is {error}") from error
        http = walled_client(Wall(context.egress_allow), timeout_ms / 1000)
    elif context.secret is None:
        raise VendorUnusable(f"vendor {vendor} needs a key, or a base_url of a server that needs none")
    else:
        http = httpx2.AsyncClient(verify=trusted(), timeout=timeout)
    client = AsyncOpenAI(
        api_key=context.secret or "none",
        base_url=base_url or hosted,
        http_client=http,
        timeout=timeout,
        max_retries=0,
    )
    client.organization = client.project = None
    return client


def warm() -> ssl.SSLContext:
    """Loads the trusted certificates."""
    return trusted()


def category(error: Exception) -> ErrorCategory | None:
    """Why a request failed when no HTTP status says so; None leaves the verdict to Pipecat.

    What the wall refuses stays refused, so it is as final as a bad key.
    """
    if any(isinstance(cause, Refused) for cause in _causes(error)):
        return ErrorCategory.INVALID_REQUEST
    if isinstance(error, APIConnectionError | httpx2.TransportError):
        return ErrorCategory.CONNECTIVITY
    return None


def llm_settings(
    model: str, temperature: float | None, tokens: dict[str, int | None], **more: Any
) -> OpenAILLMSettings:
    """Settings that send nothing which is None. ``tokens``: the limit, under the name that the server knows it by."""
    given = {"temperature": temperature, **tokens, **more}
    return OpenAILLMSettings(model=model, **{name: value for name, value in given.items() if value is not None})


class CompatibleLLMService(OpenAILLMService):
    """Pipecat's service over a client of ours, which it owns.

    ``knows_developers``: whether the server knows "developer", OpenAI's own name for the system's role in the middle of
    a conversation.
    """

    def __init__(self, settings: OpenAILLMSettings, client: AsyncOpenAI, *, knows_developers: bool = False) -> None:
        self._ours = client
        super().__init__(settings=settings)
        self.supports_developer_role = knows_developers

    def create_client(self, *_: object, **__: object) -> AsyncOpenAI:
        """The client given."""
        return self._ours

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._ours.close()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return category(exception)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
