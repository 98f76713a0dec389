"""The HTTP client for users' URLs: every connection goes through the wall, everything has a limit."""

import asyncio
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import aiohttp
from msgspec import Struct

from turncall_egress.connector import walled_connector
from turncall_egress.errors import EgressError, Failed, Refused, TimedOut, TooLarge
from turncall_egress.wall import Wall, checked_url

CONNECT_TIMEOUT_S: Final = 5.0
CONNECTIONS: Final = 200
CONNECTIONS_PER_HOST: Final = 20
CHUNK_BYTES: Final = 64 * 1024

OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"}
    | {"proxy-authorization", "proxy-connection", "accept-encoding"}
)
"""Headers that this client writes itself; a caller's choice of them would move or split a request."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class EgressAnswer(Struct, frozen=True, kw_only=True):
    """What the other side said. Header names are in lower case, the last of a repeated one counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class EgressClient:
    """``async with EgressClient(wall) as client``: requests to URLs that users supplied.

    It follows no redirect (a 3xx is an answer like any other), keeps no cookie, heeds no proxy variable, and takes no
    compressed answer, so none can swell. Connections are reused; each was checked when it was made.
    """

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            **walled_connector(self._wall), limit=CONNECTIONS, limit_per_host=CONNECTIONS_PER_HOST
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            headers={"User-Agent": "TurnCall", "Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type",),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        max_bytes: int,
        is_cut: bool = False,
    ) -> EgressAnswer:
        """The answer, whatever its status, if it is whole within ``timeout_s`` and ``max_bytes``.

        With ``is_cut`` a longer body is no error: its first ``max_bytes`` are returned, the rest is not read.
        Raises `Refused` before anything is sent, `TimedOut`, `TooLarge` and `Failed`.
        """
        if self._session is None:
            raise RuntimeError("the client is not open; use `async with`")
        target, sent = checked_url(url), _checked_headers(headers or {})
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(method, target, data=body, headers=sent, allow_redirects=False) as answer,
            ):
                return EgressAnswer(
                    status=answer.status,
                    headers={name.lower(): value for name, value in answer.headers.items()},
                    body=await (_beginning(answer, max_bytes) if is_cut else _body(answer, max_bytes)),
                )
        except EgressError:
            raise
        except TimeoutError as error:
            raise TimedOut(f"{target.host} gave no whole answer in {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Failed(f"the request to {target.host} failed ({type(error).__name__})") from error


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise Refused("header", "a name or value holds characters that a header may not")
        if name.lower() in OWN_HEADERS:
            raise Refused("header", f"{name.lower()} is set by the client")
    return headers


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    host = answer.url.host
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Failed(f"{host} answered compressed though asked not to")
    if (answer.content_length or 0) > max_bytes:
        raise TooLarge(f"the answer of {host} is longer than {max_bytes} bytes")
    body = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"the answer of {host} is longer than {max_bytes} bytes")
    return bytes(body)


async def _beginning(answer: aiohttp.ClientResponse, size_bytes: int) -> bytes:
    """The first bytes as they came over the wire; a connection with more to come is closed with the answer."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(size_bytes):
        body += chunk
        if len(body) >= size_bytes:
            break
    return bytes(body[:size_bytes])
