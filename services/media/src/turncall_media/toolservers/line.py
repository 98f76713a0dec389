"""The connection to one MCP server, for one call."""

import asyncio
from typing import Final

from mcp.client.client import Client

from turncall_media.toolservers.doors import Door
from turncall_media.toolservers.errors import ServerAway, reason

CLOSE_WITHIN_S: Final = 1.0
"""For a goodbye; a server that does not answer it holds up no end of a call."""


class Line:
    """Connects when it is first needed, and anew when the connection was lost.

    A task of its own holds the connection, since the client must be left where it was entered.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._holding: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[Client | ServerAway] | None = None
        self._leave = asyncio.Event()

    async def client(self) -> Client:
        """The connected client. Raises `ServerAway`; a later try is a new one."""
        if self._holding is None or self._holding.done() or self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._holding = asyncio.create_task(self._hold(self._opened), name="mcp")
        opened = await asyncio.shield(self._opened)
        if isinstance(opened, ServerAway):
            raise opened
        return opened

    async def close(self) -> None:
        """Says goodbye, within `CLOSE_WITHIN_S`."""
        self._leave.set()
        if self._holding is not None:
            await asyncio.wait({self._holding}, timeout=CLOSE_WITHIN_S)
        await self.drop()

    async def drop(self) -> None:
        """Ends the connection without a word."""
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.wait({self._holding})
            self._holding = None

    async def _hold(self, opened: asyncio.Future[Client | ServerAway]) -> None:
        why = "it was given up"
        try:
            async with Client(self._door(), cache=None) as client:
                opened.set_result(client)
                await self._leave.wait()
        except Exception as error:  # noqa: BLE001 - the boundary of one connection: whoever waits for it is told
            why = reason(error)
        finally:
            if not opened.done():
                opened.set_result(ServerAway(why))
