"""HTTP clients for vendors: to a vendor's own servers directly, to one that the user names through the wall."""

import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Final

import httpx2
from msgspec import Meta
from pipecat.utils.errors import ErrorCategory

from turncall_egress import EgressError, Refused, Wall, checked_url
from turncall_egress.httpx2_transport import trusted, walled_client
from turncall_media.errors import VendorUnusable
from turncall_media.stages.kinds import BuildContext

CONNECT_WITHIN_S: Final = 5.0
URL: Final = r"^(https?://.+)?$(?!\n)"

TimeoutMs = Annotated[
    int,
    Meta(ge=100, le=120_000, description="Silence of the server, before an answer or within it, that is a failure."),
]
Temperature = Annotated[float, Meta(ge=0, le=2, description="Higher is more varied.")]
MaxTokens = Annotated[int, Meta(ge=1, le=100_000, description="Longest reply, in tokens.")]
OwnUrl = Annotated[
    str,
    Meta(
        pattern=URL,
        max_length=2048,
        description="A server of your own that speaks the vendor's protocol, without a path; empty for the vendor's. "
        "It never gets the vendor's key of this installation.",
    ),
]

FAILURES: Final = (httpx2.HTTPError, EgressError)
"""What a request of `client` may raise."""


class Stalled(Exception):
    """The server stopped answering in the middle of an answer."""


def client(vendor: str, base_url: str, timeout_ms: int, context: BuildContext) -> httpx2.AsyncClient:
    """A client that connects when it is first used; its owner closes it.

    A user's server, ``base_url``, is reached through the wall; when it is empty, the vendor's own is meant. Raises
    `VendorUnusable` for its URL's form, or without a key for the vendor's own.
    """
    if base_url:
        try:
            checked_url(base_url)
        except Refused as error:
            raise VendorUnusable(f"the base_url of vendor {vendor} is {error}") from error
        return walled_client(Wall(context.egress_allow), timeout_ms / 1000)
    if context.secret is None:
        raise VendorUnusable(f"vendor {vendor} needs a key, or a base_url of a server that needs none")
    return httpx2.AsyncClient(verify=trusted(), timeout=patience(timeout_ms))


def patience(timeout_ms: int) -> httpx2.Timeout:
    """How long to wait for the server, and not quite so long for a connection."""
    return httpx2.Timeout(timeout_ms / 1000, connect=min(CONNECT_WITHIN_S, timeout_ms / 1000))


def warm() -> ssl.SSLContext:
    """Loads the trusted certificates."""
    return trusted()


def category(error: Exception) -> ErrorCategory | None:
    """Why a request failed when no HTTP status says so; None leaves the verdict to Pipecat.

    What the wall refuses stays refused, so it is as final as a bad key.
    """
    if any(isinstance(cause, Refused) for cause in causes(error)):
        return ErrorCategory.INVALID_REQUEST
    if any(isinstance(cause, httpx2.TransportError | Stalled) for cause in causes(error)):
        return ErrorCategory.CONNECTIVITY
    return None


def check(answer: httpx2.Response) -> None:
    """Raises `httpx2.HTTPStatusError` with the server's own words for an ``answer`` that is an error. Its body is
    read."""
    if answer.is_error:
        why = f"{answer.status_code} {answer.reason_phrase}: {answer.text[:300]}"
        raise httpx2.HTTPStatusError(why, request=answer.request, response=answer)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


async def told[EventT](events: AsyncIterator[EventT]) -> AsyncIterator[EventT]:
    """The same events. Raises `Stalled` where their server falls silent, which some of Pipecat's services keep to
    themselves when it is called a timeout."""
    try:
        async for event in events:
            yield event
    except httpx2.TimeoutException as error:
        raise Stalled("it has stopped answering") from error
