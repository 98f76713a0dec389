"""The dentist's appointment book: the user's own server, to which the agent's tool posts."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from turncall_egress.signing import SignatureRefused, verify

BOOK: Final = "/book"


class Appointment(Struct, frozen=True, kw_only=True):
    """What the agent asks the desk to write down."""

    day: str
    time: str


class ToolCall(Struct, frozen=True, kw_only=True):
    """The body of a tool's request; what the desk does not need is ignored."""

    arguments: Appointment


class Desk:
    """Appointments by their idempotency key, so that a repeated request books once."""

    def __init__(self) -> None:
        self.booked: dict[str, Appointment] = {}
        self._secrets: list[str] = []

    def trust(self, secret: str) -> None:
        """Takes requests that are signed with this project's secret; until then all are refused."""
        self._secrets.append(secret)

    async def book(self, request: web.Request) -> web.Response:
        """Writes an appointment down and answers with its number."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            verify(self._secrets, headers, body, time.time())
        except SignatureRefused as error:
            return web.json_response({"error": str(error)}, status=401)
        try:
            wanted = msgspec.json.decode(body, type=ToolCall).arguments
        except msgspec.DecodeError as error:
            return web.json_response({"error": str(error)}, status=400)
        key = request.headers.get("Idempotency-Key", "")
        self.booked.setdefault(key, wanted)
        position = list(self.booked).index(key) + 1
        return web.json_response({"number": position, "day": wanted.day, "time": wanted.time})


@asynccontextmanager
async def desk_at_work() -> AsyncIterator[tuple[Desk, str]]:
    """A desk and the URL of its booking tool, on a free port of this machine."""
    desk = Desk()
    app = web.Application()
    app.router.add_post(BOOK, desk.book)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield desk, f"http://127.0.0.1:{runner.addresses[0][1]}{BOOK}"
    finally:
        await runner.cleanup()
