"""An aiohttp application on a free port of loopback, whose stalled answers end with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Stalls:
    """Answers that never come: they wait here until the server closes."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()

    async def stall(self) -> None:
        """Returns when the server closes."""
        await self._closing.wait()

    def release(self) -> None:
        """Ends every stall."""
        self._closing.set()


@asynccontextmanager
async def serving(app: web.Application, stalls: Stalls) -> AsyncIterator[str]:
    """The address of ``app`` while it runs: ``127.0.0.1:port``."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        stalls.release()
        await runner.cleanup()


def cut(request: web.Request) -> None:
    """Takes the connection away, in the middle of whatever it carries."""
    if request.transport is not None:
        request.transport.abort()
