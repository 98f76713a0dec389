"""Sockets to vendors: to a vendor's own servers directly, to one that the user names through the wall."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from pipecat.services.tts_service import WebsocketTTSService
from pipecat.services.websocket_service import ReportErrorCallback
from pipecat.utils.errors import ErrorCategory
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from turncall_egress import EgressError, Refused, Wall, checked_url
from turncall_egress.dialling import dial
from turncall_egress.httpx2_transport import trusted
from turncall_media.errors import VendorUnusable
from turncall_media.stages.kinds import BuildContext

CLOSE_WITHIN_S: Final = 1.0
"""A peer that does not say goodbye holds up no end of a call."""
_REFUSALS: Final = frozenset({1003, 1007, 1008})
"""Codes of a close that is about the data or about a policy (RFC 6455, section 7.4.1)."""

BaseUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://.+)?$(?!\n)",
        max_length=2048,
        description="A server of your own that speaks the vendor's protocol, without a path; empty for the vendor's. "
        "It never gets the vendor's key of this installation.",
    ),
]
TimeoutMs = Annotated[
    int, Meta(ge=100, le=60_000, description="Silence of the server that is a failure, when something is due.")
]


class Line(Struct, frozen=True, kw_only=True):
    """Where to connect and how: a ``ws(s)://`` without a path, and the wall; None for the vendor's own servers."""

    vendor: str
    base_url: str
    key: str
    timeout_s: float
    wall: Wall | None

    async def open(self, url: str, connect: Callable[..., Awaitable[ClientConnection]]) -> ClientConnection:
        """What ``connect`` opens: it is called with the arguments for websockets' own connect that this line needs.

        Raises what ``connect`` raises, and for a user's server `Refused` and `Failed`.
        """
        # Sound does not shrink: deflating it took 7 % of a call's CPU (measured), and its windows memory.
        known: dict[str, Any] = {"open_timeout": self.timeout_s, "compression": None}
        if url.startswith("wss:"):
            known["ssl"] = trusted()

        async def at(address: str | None) -> ClientConnection:
            if address is None:
                return await connect(**known)
            # With a host of its own, websockets follows no redirect to another one.
            return await connect(
                host=address, port=checked_url("http" + url.removeprefix("ws")).port, proxy=None, **known
            )

        return await self.dialled(url, at)

    async def dialled[StreamT](self, url: str, connect: Callable[[str | None], Awaitable[StreamT]]) -> StreamT:
        """What ``connect`` opens to an address of ``url`` that the wall lets pass, or to the vendor's own: None.

        Raises as `open` does.
        """
        if self.wall is None:
            return await connect(None)
        host = checked_url("http" + url.removeprefix("ws")).raw_host or ""
        return await dial(self.wall, host, self.timeout_s, connect, (OSError, TimeoutError))


def line(vendor: str, hosted: str, base_url: str, timeout_ms: int, context: BuildContext) -> Line:
    """The line for these options. Raises `VendorUnusable` for the URL's form, or without a key for the vendor's own."""
    if base_url:
        try:
            checked_url(base_url)
        except Refused as error:
            raise VendorUnusable(f"the base_url of vendor {vendor} is {error}") from error
    elif context.secret is None:
        raise VendorUnusable(f"vendor {vendor} needs a key, or a base_url of a server that needs none")
    return Line(
        vendor=vendor,
        base_url="ws" + (base_url or hosted).removeprefix("http").rstrip("/"),
        key=context.secret or "none",
        timeout_s=timeout_ms / 1000,
        wall=Wall(context.egress_allow) if base_url else None,
    )


def warm() -> ssl.SSLContext:
    """Loads the trusted certificates."""
    return trusted()


def category(error: Exception) -> ErrorCategory | None:
    """Why a connection failed when no HTTP status says so; None leaves the verdict to Pipecat."""
    if isinstance(error, Refused):
        return ErrorCategory.INVALID_REQUEST
    return ErrorCategory.CONNECTIVITY if isinstance(error, EgressError) else None


def is_refusal(closed: ConnectionClosed) -> bool:
    """Whether the server closed the socket because of what it was sent or asked for, as far as the code tells."""
    return closed.rcvd is not None and closed.rcvd.code in _REFUSALS


class LinedTTS(WebsocketTTSService):
    """Stands before one of Pipecat's services over a websocket: the socket is ours, and speech that breaks off or does
    not come is told."""

    _line: Line
    _has_worked = False

    async def _websocket_connect(self, uri: str, **kwargs: Any) -> ClientConnection:
        connect = super()._websocket_connect
        opened: ClientConnection = await self._line.open(uri, lambda **known: connect(uri, **known, **kwargs))
        return opened

    async def _maybe_try_reconnect(
        self, error_message: str, report_error: ReportErrorCallback, error: Exception | None = None
    ) -> bool:
        """Pipecat reconnects without a word; the sentence under way is lost. Who closes because of a policy before it
        has spoken, as for a voice that there is not, would do so again; later it may be an idle socket."""
        if isinstance(error, ConnectionClosed) and is_refusal(error) and not self._has_worked:
            await self.push_error(f"{self._line.vendor} refused: {error}", category=ErrorCategory.INVALID_REQUEST)
            return False
        if not self._disconnecting and self.has_active_audio_context():
            await self.push_error(f"{self._line.vendor}'s speech broke off", category=ErrorCategory.CONNECTIVITY)
        return await super()._maybe_try_reconnect(error_message, report_error, error)

    async def _record_context_audio_outcome(self, context_id: str, received_audio: bool) -> None:
        """A socket on which nothing came when speech was due is stuck: the next sentence gets a new one."""
        await super()._record_context_audio_outcome(context_id, received_audio)
        self._has_worked = self._has_worked or received_audio
        if not received_audio and self._websocket is not None:
            self._websocket.transport.abort()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return category(exception)
