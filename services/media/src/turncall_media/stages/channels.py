"""What the session of a model that hears and speaks travels on: opened and introduced in time, or lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from pipecat.utils.errors import ErrorCategory
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from turncall_egress import EgressError
from turncall_media.stages import lines
from turncall_media.stages.lines import CLOSE_WITHIN_S, Line

LARGEST_MESSAGE: Final = 16 * 1024 * 1024


class Gone(Exception):
    """A channel that is no websocket is gone. ``category``: as `Lost` has it."""

    def __init__(self, why: str, category: ErrorCategory | None = None) -> None:
        super().__init__(why)
        self.category = category


class Channel(Protocol):
    """What a session travels on: a websocket, or what behaves like one. Raises ``ConnectionClosed`` or `Gone`."""

    @property
    def transport(self) -> asyncio.Transport:
        """Is aborted when the other side is stuck."""
        ...

    async def send(self, message: str | bytes) -> None:
        """One message."""
        ...

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """What the other side says, until it says goodbye."""
        ...

    async def close(self) -> None:
        """Says goodbye."""
        ...


class Lost(Exception):
    """The session is over. ``category``: why, as far as that says whether the next one has a chance."""

    def __init__(self, why: str, category: ErrorCategory | None = None) -> None:
        super().__init__(why)
        self.category = category


async def connected(line: Line, url: str, headers: dict[str, str]) -> ClientConnection:
    """A socket to ``url``, which is on the line. Raises `Lost`."""

    def opened(**known: Any) -> Any:
        return connect(url, additional_headers=headers, max_size=LARGEST_MESSAGE, close_timeout=CLOSE_WITHIN_S, **known)

    return await reached(line, line.open(url, opened))


async def reached[ChannelT: Channel](line: Line, opening: Awaitable[ChannelT]) -> ChannelT:
    """What opens, within the line's timeout. Raises `Lost`."""
    try:
        async with asyncio.timeout(line.timeout_s):
            return await opening
    except (OSError, TimeoutError, WebSocketException, EgressError) as error:
        raise Lost(f"no session: {error or 'no answer'}", category(error)) from error


async def introduced[ChannelT: Channel](line: Line, socket: ChannelT, introduce: Callable[[ChannelT], Any]) -> None:
    """Tells a new session what it is for, and waits until it knows. Raises `Lost`."""
    try:
        async with asyncio.timeout(line.timeout_s):
            await introduce(socket)
    except (ConnectionClosed, Gone, TimeoutError) as error:
        socket.transport.abort()
        is_refused = isinstance(error, ConnectionClosed) and lines.is_refusal(error)
        why = ErrorCategory.INVALID_REQUEST if is_refused else getattr(error, "category", None)
        raise Lost(f"the session was not confirmed: {error or 'no answer'}", why) from error


def category(error: Exception) -> ErrorCategory | None:
    """Why a connection was refused, as far as its answer says."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ErrorCategory.AUTHENTICATION
    if status is not None and 400 <= status < 500:
        return ErrorCategory.INVALID_REQUEST
    return lines.category(error) or ErrorCategory.CONNECTIVITY
