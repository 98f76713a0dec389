"""The wall for SDKs built on httpx2, such as openai's. Import it only where httpx2 is installed."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import cache
from typing import Any

import httpcore2
import httpx2

from turncall_egress.dialling import CONNECTIONS, IDLE_CONNECTIONS, IDLE_S, dial
from turncall_egress.errors import Failed, TooLarge
from turncall_egress.wall import Wall, checked_url


@cache
def trusted(*protocols: str) -> ssl.SSLContext:
    """The certificates that are trusted, for connections that agree on one of the ``protocols`` (ALPN), if any.

    Loading them takes 0.2 s of one core (measured), so all clients share them.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class WalledTransport(httpx2.AsyncHTTPTransport):
    """A transport whose connections go to checked addresses, while TLS still verifies the name.

    What the wall forbids raises `Refused` in the middle of the SDK's request, which is no error that SDKs retry. Give
    it to a client without ``trust_env``, as `walled_client` does: this machine's netrc is not the user's.

    With ``most_bytes`` an answer that is longer raises `TooLarge` while it is read, and a compressed one `Failed`; a
    stream of events may go on, for whoever reads it to bound.
    """

    def __init__(self, wall: Wall, most_bytes: int | None = None) -> None:
        super().__init__(verify=trusted(), trust_env=False)
        self._most_bytes = most_bytes
        if "_pool" not in vars(self):
            raise RuntimeError("this httpx2 keeps its connections elsewhere, and the wall would stand beside the road")
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=trusted(),
            max_connections=CONNECTIONS,
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_S,
            network_backend=_WalledNetwork(wall),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to ``request``, whose URL is checked as every user's URL is."""
        checked_url(str(request.url))
        answer = await super().handle_async_request(request)
        return answer if self._most_bytes is None else _bounded(answer, self._most_bytes, request.url.host)


def walled_client(
    wall: Wall,
    timeout_s: float | httpx2.Timeout,
    headers: Mapping[str, str] | None = None,
    most_bytes: int | None = None,
) -> httpx2.AsyncClient:
    """A client for an SDK's ``http_client``: walled, without redirects, without anything from the environment.

    ``headers`` go with each request; ``most_bytes`` are those of `WalledTransport`.
    """
    plain = {"Accept-Encoding": "identity"} if most_bytes is not None else {}
    return httpx2.AsyncClient(
        transport=WalledTransport(wall, most_bytes),
        trust_env=False,
        follow_redirects=False,
        timeout=timeout_s,
        headers={**(headers or {}), **plain},
    )


def _bounded(answer: httpx2.Response, most_bytes: int, host: str) -> httpx2.Response:
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Failed(f"{host} answered compressed though asked not to")
    if answer.headers.get("Content-Type", "").lower().startswith("text/event-stream"):
        return answer
    assert isinstance(answer.stream, httpx2.AsyncByteStream)  # an asynchronous transport makes no other
    return httpx2.Response(
        answer.status_code,
        headers=answer.headers,
        stream=_BoundedStream(answer.stream, most_bytes, host),
        extensions=answer.extensions,
    )


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most_bytes: int, host: str) -> None:
        self._stream = stream
        self._left = most_bytes
        self._refusal = f"the answer of {host} is longer than {most_bytes} bytes"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge(self._refusal)
            yield chunk

    async def aclose(self) -> None:
        """Ends the answer, read or not."""
        await self._stream.aclose()


class _WalledNetwork(httpcore2.AsyncNetworkBackend):
    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A stream to a checked address of ``host``."""

        async def connect(address: str) -> httpcore2.AsyncNetworkStream:
            return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)

        unreachable = (httpcore2.ConnectError, httpcore2.ConnectTimeout)
        try:
            return await dial(self._wall, host, timeout, connect, unreachable)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except Failed as error:
            raise httpcore2.ConnectError(str(error)) from error

    async def sleep(self, seconds: float) -> None:
        """Between attempts to connect."""
        await asyncio.sleep(seconds)
