"""The MCP servers of one call: looked for together, used one by one, left at the end."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import CONNECTION_CLOSED, Tool
from msgspec import Struct
from pydantic import ValidationError

from turncall_media.tools.shape import Invocation, ToolFailed
from turncall_media.toolservers.answers import answer
from turncall_media.toolservers.doors import Door
from turncall_media.toolservers.errors import ServerAway, reason
from turncall_media.toolservers.line import Line
from turncall_media.toolservers.listing import Offer, offer
from turncall_proto.mcp import McpServer

FOUND_WITHIN_S: Final = 3.0
"""From the beginning of a call until a server that has not answered is done without. The model waits, if it is asked
before; the greeting does not."""
MOST_PAGES: Final = 20
_TIMED_OUT: Final = "The function did not answer in time. It may have done its work."
_BROKE_OFF: Final = "The function's answer broke off, or was more than can be taken. It may have done its work."
_NOT_THERE: Final = "The server of this function cannot be reached."
_GARBLED: Final = "The function answered with something else than it promises. It may have done its work."


class Found(Struct, frozen=True, kw_only=True):
    """What one server offers; ``why`` there is nothing, if it is away."""

    server: str
    offer: Offer
    took_s: float
    why: str = ""


class ToolServers:
    """The servers of one call. `start` looks for them all; `close` lets go of them."""

    def __init__(self, servers: Sequence[McpServer], door: Callable[[McpServer], Door], call_id: str) -> None:
        self._servers = [_Server(server, Line(door(server)), call_id) for server in servers]
        self._looking: list[asyncio.Task[tuple[list[Tool], str, float]]] = []

    def start(self) -> None:
        """Looks for the servers, all at once."""
        self._looking = [asyncio.create_task(server.listed(), name="mcp listing") for server in self._servers]

    async def found(self, taken: Collection[str]) -> list[Found]:
        """What there is, within `FOUND_WITHIN_S` of the start. ``taken`` are names of functions that there are already;
        among the servers, the first one to be named in the agent goes before."""
        names, found = set(taken), []
        for server, looking in zip(self._servers, self._looking, strict=True):
            listed, why, took_s = await looking
            offered = Offer() if why else offer(server.spec, listed, names, server.use)
            names |= {function.name for function in offered.functions}
            found.append(Found(server=server.spec.name, offer=offered, took_s=took_s, why=why))
        return found

    async def close(self) -> None:
        """Ends every connection, whatever is still going on there."""
        for looking in self._looking:
            looking.cancel()
        if self._looking:
            await asyncio.wait(self._looking)
        await asyncio.gather(*(server.line.close() for server in self._servers))


class _Server:
    """One server, and what is asked of it."""

    def __init__(self, spec: McpServer, line: Line, call_id: str) -> None:
        self.spec = spec
        self.line = line
        self._call_id = call_id

    async def listed(self) -> tuple[list[Tool], str, float]:
        """Its tools, why there are none, and how long that took in seconds."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            async with asyncio.timeout(FOUND_WITHIN_S):
                return await _pages(await self.line.client()), "", clock() - began_s
        except (ServerAway, MCPError, TimeoutError, ValidationError) as error:
            return [], reason(error), clock() - began_s

    async def use(self, tool: str, invocation: Invocation) -> Any:
        """The answer for the model. Raises `ToolFailed` with words that it can pass on."""
        about: Any = {"turncall/call_id": self._call_id, "turncall/idempotency_key": invocation.tool_call_id}
        try:
            async with asyncio.timeout(self.spec.timeout_ms / 1000):
                client = await self.line.client()
                result = await client.call_tool(tool, invocation.arguments, meta=about)
        except TimeoutError as error:
            raise ToolFailed(_TIMED_OUT) from error
        except ServerAway as error:
            raise ToolFailed(_NOT_THERE) from error
        except MCPError as error:
            raise ToolFailed(await self._complaint(error)) from error
        except (RuntimeError, ValidationError) as error:  # as the library says that its own checks failed
            raise ToolFailed(_GARBLED) from error
        return answer(result, self.spec.max_result_bytes)

    async def _complaint(self, error: MCPError) -> str:
        if error.code != CONNECTION_CLOSED:
            return f"The function refused with the error {error.code}."
        await self.line.drop()  # the next use connects anew
        return _BROKE_OFF


async def _pages(client: Client) -> list[Tool]:
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools
