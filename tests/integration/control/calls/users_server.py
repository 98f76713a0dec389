"""A project's own server, which is asked who answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiohttp import web

Handler = Callable[[web.Request, bytes], web.Response | float]


class UsersServer:
    """Answers what ``says`` makes of a request; a number keeps the request waiting for so many seconds."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[dict[str, str], bytes]] = []
        self.says: Handler = lambda request, body: web.json_response({})

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        body = await request.read()
        self.asked.append(({name.lower(): value for name, value in request.headers.items()}, body))
        answer = self.says(request, body)
        if isinstance(answer, web.Response):
            return answer
        await asyncio.sleep(answer)
        return web.json_response({})

    def replies(self, reply: dict[str, Any]) -> None:
        """Replies this to every request from here on."""
        self.says = lambda request, body: web.json_response(reply)


@asynccontextmanager
async def serving() -> AsyncIterator[UsersServer]:
    """A server at an address of its own, which no circuit breaker knows yet."""
    server = UsersServer()
    app = web.Application()
    app.router.add_post("/who/{call}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/who/{uuid4().hex}"
        yield server
    finally:
        await runner.cleanup()
