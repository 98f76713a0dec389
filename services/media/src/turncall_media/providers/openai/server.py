"""The server behind OpenAI's three capabilities: OpenAI's own, or a compatible one that the user names."""

import ssl
from collections.abc import Iterator
from typing import Annotated, Any, Final

import httpx2
from msgspec import Meta
from openai import APIConnectionError, AsyncOpenAI
from pipecat.utils.errors import ErrorCategory

from turncall_egress import Refused, Wall, checked_url
from turncall_egress.httpx2_transport import trusted, walled_client
from turncall_media.errors import VendorUnusable
from turncall_media.kinds import BuildContext

OPENAI: Final = "https://api.openai.com/v1"
CONNECT_WITHIN_S: Final = 5.0

BaseUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://.+)?$",
        max_length=2048,
        description="A compatible server, up to and with its /v1; empty for OpenAI's own. It never gets OpenAI's key "
        "of this installation.",
    ),
]
Model = Annotated[
    str, Meta(max_length=200, description="Empty for a good one of OpenAI's; a server of your own must have it named.")
]
TimeoutMs = Annotated[
    int,
    Meta(ge=100, le=120_000, description="Silence of the server, before an answer or within it, that is a failure."),
]

NAMED_IF_COMPATIBLE: Final[dict[str, Any]] = {
    "if": {"required": ["base_url"], "properties": {"base_url": {"minLength": 1}}},
    "then": {"required": ["model"], "properties": {"model": {"minLength": 1}}},
}
"""JSON Schema of what `need_model` checks."""


def need_model(base_url: str, model: str) -> None:
    """Raises `ValueError` for a compatible server whose model is not named: it knows none of OpenAI's."""
    if base_url and not model:
        raise ValueError("model must be named when base_url is")


def connect(base_url: str, timeout_ms: int, context: BuildContext) -> AsyncOpenAI:
    """A client that connects when it is first used; its owner closes it. Never asks twice: the pipeline decides that.

    A user's server is reached through the wall. Raises `VendorUnusable` for its URL's form, or without a key for
    OpenAI. No key, organisation or project comes from the environment, where the SDK would look for them.
    """
    timeout = httpx2.Timeout(timeout_ms / 1000, connect=min(CONNECT_WITHIN_S, timeout_ms / 1000))
    if base_url:
        try:
            checked_url(base_url)
        except Refused as error:
            raise VendorUnusable(f"the base_url of vendor openai is {error}") from error
        http = walled_client(Wall(context.egress_allow), timeout_ms / 1000)
    elif context.secret is None:
        raise VendorUnusable("vendor openai needs a key, or a base_url of a server that needs none")
    else:
        http = httpx2.AsyncClient(verify=trusted(), timeout=timeout)
    client = AsyncOpenAI(
        api_key=context.secret or "none",
        base_url=base_url or OPENAI,
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


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
