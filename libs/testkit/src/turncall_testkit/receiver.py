"""A user's server that takes webhooks: checks each signature, keeps what it was sent, and misbehaves on request."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from turncall_egress.signing import SignatureRefused, verify

Deed = int | Literal["hang", "redirect", "drop"]
"""What to do with a request: answer with a status, never answer, send elsewhere, cut the line."""


class Received(Struct, frozen=True, kw_only=True):
    """One request that was signed correctly. ``deed`` is what was done with it."""

    id: str
    type: str
    data: dict[str, Any]
    headers: dict[str, str]
    body: bytes
    deed: Deed

    @property
    def is_taken(self) -> bool:
        """Whether it was answered with a success."""
        return isinstance(self.deed, int) and 200 <= self.deed < 300


class Receiver:
    """``deeds`` are done to the next requests in turn, then ``deed`` to each; ``failures`` are what was wrong.

    With ``stumbles_every`` one event in so many is answered with 503 when it comes for the first time.
    """

    def __init__(self) -> None:
        self.url = ""
        self.secrets: list[str] = []
        self.deeds: deque[Deed] = deque()
        self.deed: Deed = 204
        self.stumbles_every = 0
        self.answer_headers: Mapping[str, str] = {}
        self.answer = ""
        self.received: list[Received] = []
        self.failures: list[str] = []
        self._met: set[str] = set()
        self._over = asyncio.Event()

    @property
    def taken(self) -> list[Received]:
        """What was answered with a success, in the order of arrival, repeats too."""
        return [request for request in self.received if request.is_taken]

    def first_taken(self, call_id: str) -> list[Received]:
        """The requests about a call that were taken, each id once, in the order of arrival."""
        seen: dict[str, Received] = {}
        for request in self.taken:
            if request.data.get("call_id") == call_id:
                seen.setdefault(request.id, request)
        return list(seen.values())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.secrets:
            try:
                verify(self.secrets, headers, body, time.time())
            except SignatureRefused as error:
                self.failures.append(str(error))
                return web.Response(status=401)
        deed = self._deed(headers.get("webhook-id", ""))
        content = msgspec.json.decode(body)
        self.received.append(
            Received(
                id=headers.get("webhook-id", ""),
                type=content["type"],
                data=content["data"],
                headers=headers,
                body=body,
                deed=deed,
            )
        )
        if deed == "hang":
            await self._over.wait()
        if deed == "drop" and request.transport is not None:
            request.transport.abort()
        if deed == "redirect":
            return web.Response(status=302, headers={"Location": self.url + "/elsewhere"})
        status = deed if isinstance(deed, int) else 500
        return web.Response(status=status, headers=dict(self.answer_headers), text=self.answer or None)

    def _deed(self, webhook_id: str) -> Deed:
        is_new = webhook_id not in self._met
        deed = self.deeds.popleft() if self.deeds else self.deed
        if is_new and self.stumbles_every and len(self._met) % self.stumbles_every == 0:
            deed = 503
        self._met.add(webhook_id)
        return deed

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Where a redirect leads: nobody is to follow it."""
        self.failures.append("a redirect was followed")
        return web.Response()

    def close(self) -> None:
        """Lets go of requests that hang."""
        self._over.set()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine; it fails the test if a request was not as it has to be."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hooks", receiver.handle)
    app.router.add_route("*", "/hooks/elsewhere", receiver.elsewhere)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
        yield receiver
    finally:
        receiver.close()
        await runner.cleanup()
    assert receiver.failures == []
