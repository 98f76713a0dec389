"""nats-py's client, with the habits cured that a live call would feel. Each cure says what it was measured against."""

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client, Server
from nats.aio.transport import TcpTransport

from turncall_bus.backoff import pause_s
from turncall_bus.bus import Away, BusError

OLDEST_SERVER: Final = (2, 11)
"""Older servers drop fields they do not know, in silence: filters, batched reads."""
INBOX: Final = "_INBOX"
MAX_UNSENT_BYTES: Final = 8 * 1024 * 1024
"""With so much waiting for the socket the peer is stuck, and the bus counts as away."""
SETTLE_WITHIN_S: Final = 2.0

_log = logging.getLogger(__name__)


class ServerTooOld(BusError):
    """The server does not know all that is asked of it; install a newer one."""


class ConnectionLost(nats.errors.Error):
    """The connection broke while a request was under way: its answer will not come."""


class _PromptTransport(TcpTransport):
    """A socket that is dropped at once on close, and that lets its writer feel that the peer is slow."""

    def close(self) -> None:
        # The stock one waits until the peer has taken what is buffered: minutes, when the peer is dead.
        if self._io_writer is not None:
            self._io_writer.transport.abort()

    def writelines(self, payload: list[bytes]) -> None:
        # CPython 3.12's writelines does not pause its writer: 85 MB were buffered for a frozen server.
        assert self._io_writer is not None
        self._io_writer.write(b"".join(payload))

    def __bool__(self) -> bool:
        return True  # so that the client keeps this one and does not make its own


class PromptClient(Client):
    """The client of one `turncall_bus.nats.NatsBus`, which it calls through ``reconnected``."""

    def __init__(self) -> None:
        super().__init__()
        self._transport = _PromptTransport()  # type: ignore[no-untyped-call]
        self._flushes: set[asyncio.Task[None]] = set()
        self.reconnected: Callable[[], None] = lambda: None

    async def _lost(self) -> None:
        self.forget_unsent()
        for answer in list(self._resp_map.values()):  # the stock client lets them run into their deadlines
            if not answer.done():
                answer.set_exception(ConnectionLost())
        if not self.is_closed:
            _log.warning("bus: connection to nats lost")

    async def _back(self) -> None:
        _log.info("bus: connected to nats again")
        self.reconnected()

    @property
    def is_usable(self) -> bool:
        """Whether the server can be reached this instant, as far as the last pings and the socket tell."""
        return self.is_connected and self.pending_data_size < MAX_UNSENT_BYTES

    def forget_unsent(self) -> None:
        """Drops what the connection has not sent. The stock client says it to the next one, minutes later."""
        self._pending.clear()
        self._pending_data_size = 0

    async def settle(self) -> None:
        """Waits until the server knows of the subscriptions made so far; without a connection it learns of them later.

        Not `flush` alone: its ping is written past the queue of commands, which must reach the socket first. And no
        deadline on flush itself: a pong that comes for a cancelled flush kills the stock reader.
        """
        if not self.is_connected:
            return
        await asyncio.sleep(0)
        flush = asyncio.create_task(self.flush(), name="nats flush")
        self._flushes.add(flush)
        flush.add_done_callback(self._flushed)
        await asyncio.wait({flush}, timeout=SETTLE_WITHIN_S)

    def _flushed(self, flush: asyncio.Task[None]) -> None:
        self._flushes.discard(flush)
        if not flush.cancelled() and (error := flush.exception()) is not None:
            _log.warning("bus: nats did not confirm a subscription: %s", error)

    async def close(self) -> None:
        """Ends the connection without waiting for the peer.

        Not `drain`: it waits for its whole time-out once a pull request has run out.
        """
        self.forget_unsent()
        await super().close()
        for flush in self._flushes:
            flush.cancel()

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # The stock one looks at every character of every name: a message of a story took 57 us of CPU, and takes 22.
        headers: dict[str, str] = {}
        for line in raw.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if colon:
                headers[name.decode("ascii", "replace").strip()] = value.decode("utf-8", "replace").strip()
        return headers


async def dial(url: str, *, name: str, credentials: Path | None, timeout_s: float) -> PromptClient:
    """A connected client that reconnects for ever; see `turncall_bus.nats.connect`. Raises `Away`, `ServerTooOld`."""
    servers = [server.strip() for server in url.split(",")]
    hosts = ", ".join(f"{parts.hostname}:{parts.port or 4222}" for parts in map(urlsplit, servers))
    client = PromptClient()
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(
                servers=servers,
                name=name,
                inbox_prefix=_inbox(servers[0]),
                user_credentials=credentials,
                error_cb=_tell,
                disconnected_cb=client._lost,
                reconnected_cb=client._back,
                reconnect_to_server_handler=_next_server,
                reconnect_time_wait=1,
                max_reconnect_attempts=-1,
                # A dead peer is noticed within three pings; the stock setting takes minutes.
                ping_interval=2,
                max_outstanding_pings=2,
                # No buffer while disconnected: what could not be said in time must not be said minutes later.
                pending_size=0,
            )
    except TimeoutError as error:
        await client.close()
        raise Away(f"no NATS server at {hosts} let us in within {timeout_s} s: {client.last_error}") from error
    version = client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        await client.close()
        raise ServerTooOld(f"NATS at {hosts} is {version.major}.{version.minor}; 2.11 or newer is needed")
    return client


def _inbox(server: str) -> str:
    """Where answers come to: below the user's own name, so that a server can keep others from listening there."""
    user = urlsplit(server).username or ""
    return f"{INBOX}.{user}" if re.fullmatch(r"[A-Za-z0-9_-]+", user) else INBOX


async def _tell(error: Exception) -> None:
    """What went wrong behind the scenes, for the log; whoever waits on it is told by an error of its own."""
    _log.warning("bus: nats: %s", error or type(error).__name__)


def _next_server(pool: list[Server], _info: dict[str, Any]) -> tuple[Server | None, float]:
    """The server that failed least, and how long to wait before it is tried."""
    server = min(pool, key=lambda known: known.reconnects)
    return server, pause_s(server.reconnects + 1, first_s=0.05, most_s=1.0)
