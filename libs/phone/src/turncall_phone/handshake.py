"""Opening a media socket: which URLs are allowed, the signed upgrade, and the code of each way to fail."""

import asyncio
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp import ClientWebSocketResponse, ClientWSTimeout
from yarl import URL

from turncall_phone.calls import Call
from turncall_phone.exchange import Exchange
from turncall_phone.faults import StreamFault
from turncall_phone.signature import SIGNATURE_HEADER, sign
from turncall_phone.stream import CLOSE_TIMEOUT_S, SEND_BUFFER_BYTES


class HandshakeFailed(Exception):
    """No media socket; `code` is the carrier's error code."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def check_stream_url(url: str) -> None:
    """Raise HandshakeFailed for a URL that the carrier would not connect to.

    `wss` on its own port everywhere; `ws` and any port on loopback, which no carrier has but every test needs.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise HandshakeFailed(31923, f"{url!r} is malformed: {error}") from error
    if not host:
        raise HandshakeFailed(31923, f"{url!r} names no host")
    if parts.query or "?" in url:
        raise HandshakeFailed(31920, "a query string on the stream URL is not supported: use <Parameter>")
    if parts.scheme not in ("ws", "wss"):
        raise HandshakeFailed(31922, f"the scheme of {url!r} is not wss")
    if _is_loopback(host):
        return
    if parts.scheme == "ws":
        raise HandshakeFailed(31922, f"{url!r} is not wss")
    if port not in (None, 443):
        raise HandshakeFailed(31923, f"{url!r} is not on port 443")


async def open_socket(url: str, call: Call, exchange: Exchange) -> ClientWebSocketResponse:
    """An accepted media socket; raises HandshakeFailed. The signature covers the URL as the TwiML gave it."""
    check_stream_url(url)
    if exchange.faults.strike(StreamFault, lambda f: f.effect == "refuse", call.sid):
        raise HandshakeFailed(31902, f"connection to {url} refused")
    try:
        async with asyncio.timeout(exchange.handshake_timeout_s):
            opened = await exchange.session.ws_connect(
                URL(url, encoded=True),
                headers={SIGNATURE_HEADER.lower(): sign(call.account.auth_token, url)},
                timeout=ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
            )
    except aiohttp.WSServerHandshakeError as error:
        raise HandshakeFailed(31920, f"{url} answered the upgrade with {error.status}") from error
    except aiohttp.ClientSSLError as error:
        raise HandshakeFailed(31910, f"TLS with {url} failed: {type(error).__name__}") from error
    except TimeoutError as error:
        raise HandshakeFailed(31901, f"{url} did not answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise HandshakeFailed(31902, f"no connection to {url}: {type(error).__name__}") from error
    opened.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return opened


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
