"""How an MCP server is reached: over HTTP through the egress wall, or as a program that the operator has named."""

import logging
import os
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from turncall_egress import Wall, authority, checked_url
from turncall_egress.httpx2_transport import walled_client
from turncall_media.toolservers.errors import ServerAway
from turncall_proto.mcp import McpHttp, McpSse, McpStdio

CONNECT_WITHIN_S: Final = 3.0
LARGEST_MESSAGE_BYTES: Final = 1024 * 1024
"""Of what a server sends at once. What the model gets of it is less, and the agent's to say."""
_LASTS_S: Final = 4 * 3600.0
"""How long a stream of events may be silent: as long as a call."""

Door = Callable[[], AbstractAsyncContextManager[Any]]
"""Opens the pair of streams that the protocol's client works on."""

# What the library logs holds what servers answered, which may be about people.
logging.getLogger("mcp").addHandler(logging.NullHandler())
logging.getLogger("mcp").propagate = False


def commands(entries: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The operator's programs by their names: each entry is ``name=program arguments``. Raises `ValueError`."""
    named = {}
    for entry in entries:
        name, sign, line = entry.partition("=")
        words = tuple(shlex.split(line))
        if not (name and sign and words):
            raise ValueError(f"TURNCALL_MCP_COMMANDS: {entry!r} is not name=program arguments")
        named[name.strip()] = words
    return named


def door(
    transport: McpHttp | McpSse | McpStdio,
    secret: Mapping[str, Mapping[str, str]],
    wall: Wall,
    programs: Mapping[str, tuple[str, ...]],
) -> Door:
    """The way to a server. ``secret`` maps a host to the headers that go there beside the server's own; ``programs``
    are those that the operator has named."""
    match transport:
        case McpHttp():
            return lambda: _over_http(transport.url, _headers(transport, secret), wall)
        case McpSse():
            return lambda: _over_sse(transport.url, _headers(transport, secret), wall)
        case McpStdio():
            return lambda: _as_program(transport.command, programs)


def _headers(transport: McpHttp | McpSse, secret: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {**transport.headers, **secret.get(authority(checked_url(transport.url)), {})}


def _client(headers: Mapping[str, str], wall: Wall) -> httpx2.AsyncClient:
    timeout = httpx2.Timeout(_LASTS_S, connect=CONNECT_WITHIN_S)
    return walled_client(wall, timeout, headers, LARGEST_MESSAGE_BYTES)


@asynccontextmanager
async def _over_http(url: str, headers: Mapping[str, str], wall: Wall) -> AsyncIterator[Any]:
    async with (
        _client(headers, wall) as http,
        streamable_http_client(url, http_client=http, max_sse_event_size=LARGEST_MESSAGE_BYTES) as streams,
    ):
        yield streams


@asynccontextmanager
async def _over_sse(url: str, headers: Mapping[str, str], wall: Wall) -> AsyncIterator[Any]:
    def made(*_: Any, **__: Any) -> httpx2.AsyncClient:
        return _client(headers, wall)

    async with sse_client(url, sse_read_timeout=_LASTS_S, httpx_client_factory=made) as streams:
        yield streams


@asynccontextmanager
async def _as_program(name: str, programs: Mapping[str, tuple[str, ...]]) -> AsyncIterator[Any]:
    if name not in programs:
        raise ServerAway(f"the operator has named no program {name!r}")
    program, *arguments = programs[name]
    # It inherits none of our environment but for PATH, HOME and their like; what it prints is not ours to keep.
    with os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") as nowhere:
        parameters = StdioServerParameters(command=program, args=arguments)
        async with stdio_client(parameters, errlog=nowhere) as streams:
            yield streams
