"""Requests to the API: credentials, JSON in and out, problems as one error type, server-sent events."""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec
from msgspec import Struct

TIMEOUT_S: Final = 30.0
ANSWER_WITHIN_S: Final = 75.0
"""An answer in writing that is streamed may begin late: the agent has a minute."""
QUIET_FEED_S: Final = 20.0
"""A live feed that sends nothing for this long, not even its own signs of life, is broken."""

Query = Mapping[str, str | int | bool | None]


class Unreachable(Exception):
    """The API did not answer: it is down, the address is wrong, or the time ran out."""


class Problem(Struct, frozen=True, kw_only=True):
    """What the API says of a request that it refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = ""
    request_id: str = ""
    errors: tuple["Fault", ...] = ()


class Fault(Struct, frozen=True, kw_only=True):
    """One field of the request that is wrong."""

    field: str
    message: str


class ApiError(Exception):
    """The API refused a request; ``problem`` says why and names the fields at fault."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        faults = "".join(f"\n  {fault.field}: {fault.message}" for fault in problem.errors)
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}{faults}".rstrip(": "))


class ServerSentEvent(Struct, frozen=True, kw_only=True):
    """One event of a live feed; ``id`` is where to go on after a broken connection."""

    id: str
    event: str
    data: bytes


class Transport:
    """One connection pool to one installation, with one credential."""

    def __init__(self, base_url: str, *, key: str = "", platform_key: str = "") -> None:
        headers = {"Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if platform_key:
            headers["X-Platform-Key"] = platform_key
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def request[T](
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        body: object = None,
        query: Query | None = None,
        key: str = "",
    ) -> T:
        """The answer decoded as ``answer``; ``key`` is an Idempotency-Key. Raises `ApiError` and `Unreachable`."""
        return msgspec.json.decode(await self._content(method, path, body, query, key), type=answer)

    async def perform(self, method: str, path: str, *, body: object = None) -> None:
        """A request whose answer holds nothing. Raises like `request`."""
        await self._content(method, path, body, None)

    async def upload[T](
        self, path: str, answer: type[T], name: str, data: bytes, *, content_type: str = "", key: str = ""
    ) -> T:
        """The answer to a file sent as the form field ``file``. Raises like `request`."""
        file = (name, data, content_type) if content_type else (name, data)
        headers = {"Idempotency-Key": key} if key else {}
        try:
            response = await self._http.post(path, files={"file": file}, headers=headers)
        except httpx.TransportError as error:
            raise Unreachable(f"POST {path}: {error or type(error).__name__}") from error
        _raise_for(response, response.content)
        return msgspec.json.decode(response.content, type=answer)

    async def _content(self, method: str, path: str, body: object, query: Query | None, key: str = "") -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        try:
            response = await self._http.request(
                method, path, content=content, headers=headers, params=_given(query or {})
            )
        except httpx.TransportError as error:
            raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error
        _raise_for(response, response.content)
        return response.content

    async def download(self, path: str, *, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a file, or of its range ``start`` to ``end`` inclusive. Raises `ApiError` and `Unreachable`."""
        headers = {} if start is None else {"Range": f"bytes={start}-{'' if end is None else end}"}
        try:
            response = await self._http.get(path, headers=headers)
        except httpx.TransportError as error:
            raise Unreachable(f"GET {path}: {error or type(error).__name__}") from error
        _raise_for(response, response.content)
        return response.content

    async def live(self, path: str, *, after: str = "", body: object = None) -> AsyncIterator[ServerSentEvent]:
        """A live feed from the event after ``after``, or the answer to a POST of ``body`` as it comes; ends when the
        server ends it. Raises like `request`."""
        method, content = ("GET", None) if body is None else ("POST", msgspec.json.encode(body))
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        if content is not None:
            headers["Content-Type"] = "application/json"
        patience = httpx.Timeout(TIMEOUT_S, read=QUIET_FEED_S if body is None else ANSWER_WITHIN_S)
        try:
            async with self._http.stream(method, path, content=content, headers=headers, timeout=patience) as stream:
                if stream.is_error:
                    _raise_for(stream, await stream.aread())
                async for event in _parsed(stream.aiter_lines()):
                    yield event
        except httpx.TransportError as error:
            raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error


async def _parsed(lines: AsyncIterator[str]) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events as the HTML standard (section 9.2) reads them; comments are skipped."""
    fields: dict[str, list[str]] = {}
    async for line in lines:
        if not line:
            if "data" in fields:
                yield ServerSentEvent(
                    id=fields.get("id", [""])[-1],
                    event=fields.get("event", ["message"])[-1],
                    data="\n".join(fields["data"]).encode(),
                )
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))


def _given(query: Query) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _raise_for(response: httpx.Response, content: bytes) -> None:
    if not response.is_error:
        return
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(type="about:blank", title=response.reason_phrase, status=response.status_code)
    raise ApiError(problem)
