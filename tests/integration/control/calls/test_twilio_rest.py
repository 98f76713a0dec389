"""The vendor's client as we run it: where it asks, how long it waits, what its refusals become."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from turncall_control.carriers import twilio
from turncall_control.carriers.base import (
    CarrierError,
    Gone,
    LimitReached,
    NotAuthorised,
    NotInProgress,
    Rejected,
    Unavailable,
)
from turncall_control.carriers.twilio import Twilio
from turncall_runtime.secret import Secret

ACCOUNT = "AC" + "9" * 32


class Api:
    """A server that answers everything alike and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.text, self.pause_s = 200, '{"sid": "CA1", "status": "completed"}', 0.0
        self.asked: list[tuple[str, str, dict[str, Any], str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.method, request.path, form, request.headers.get("Authorization", "")))
        await asyncio.sleep(self.pause_s)
        return web.Response(status=self.status, text=self.text, content_type="application/json")


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[tuple[Api, str]]:
    """The server, and where it is: below a path, as behind a proxy."""
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield api, f"http://127.0.0.1:{runner.addresses[0][1]}/proxy/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(base_url: str, timeout_s: float = 2.0) -> AsyncIterator[Twilio]:
    """An account at that address."""
    async with twilio.connected(
        account_sid=ACCOUNT, auth_token=Secret("the-token"), base_url=base_url, timeout_s=timeout_s
    ) as account:
        yield account


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (404, '{"code": 20404, "message": "not found", "status": 404}', Gone),
        (400, '{"code": 21220, "message": "not in progress", "status": 400}', NotInProgress),
        (401, '{"code": 20003, "message": "authenticate", "status": 401}', NotAuthorised),
        (429, '{"code": 20429, "message": "slow down", "status": 429}', LimitReached),
        (500, '{"code": 20500, "message": "oops", "status": 500}', Unavailable),
        (503, "<html>down</html>", Unavailable),
        (400, '{"code": 21211, "message": "bad To", "status": 400}', Rejected),
        (400, '{"type": "t", "title": "Bad", "status": 400, "code": 21211, "detail": "bad"}', Rejected),
        (200, "<html>a captive portal</html>", Unavailable),
    ],
)
async def test_refusals_have_types(api: tuple[Api, str], status: int, text: str, error: type[CarrierError]) -> None:
    """Every way of failing is one of ours, after exactly one request, without the token in its words."""
    server, base_url = api
    server.status, server.text, server.pause_s = status, text, 0.0
    server.asked.clear()
    async with asking(base_url) as account:
        with pytest.raises(error) as raised:
            await account.end_call("CA1")
    assert "the-token" not in str(raised.value)
    assert len(server.asked) == 1


async def test_the_deadline_holds_and_nothing_is_posted_twice(api: tuple[Api, str]) -> None:
    """A carrier that does not answer in time is unavailable; whether it acted is unknown, so it is not asked again."""
    server, base_url = api
    server.status, server.text, server.pause_s = 200, "{}", 3.0
    server.asked.clear()
    started = asyncio.get_running_loop().time()
    async with asking(base_url, timeout_s=0.2) as account:
        with pytest.raises(Unavailable):
            await account.end_call("CA1")
    assert asyncio.get_running_loop().time() - started < 1.5
    assert len(server.asked) == 1


async def test_nobody_there_is_unavailable() -> None:
    """A closed port is an error of ours, too."""
    async with asking("http://127.0.0.1:9") as account:
        with pytest.raises(Unavailable):
            await account.fetch_call("CA1")


async def test_requests_go_to_the_configured_place(api: tuple[Api, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheme, host and path prefix are the configured ones, whatever region the vendor's own variables name."""
    monkeypatch.setenv("TWILIO_REGION", "au1")
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    server, base_url = api
    server.status, server.pause_s = 200, 0.0
    server.text = (
        '{"sid": "CA1", "status": "completed", "duration": "12", "start_time": "Tue, 03 Nov 2026 09:15:02 +0000",'
        ' "end_time": "Tue, 03 Nov 2026 09:15:14 +0000"}'
    )
    server.asked.clear()
    async with asking(base_url) as account:
        call = await account.fetch_call("CA1")
        await account.end_call("CA1")
    path = f"/proxy/2010-04-01/Accounts/{ACCOUNT}/Calls/CA1.json"
    assert [(method, asked, form) for method, asked, form, _ in server.asked] == [
        ("GET", path, {}),
        ("POST", path, {"Status": "completed"}),
    ]
    assert all(authorization.startswith("Basic ") for *_, authorization in server.asked)
    assert (call.status, call.duration_s) == ("completed", 12)
    assert call.ended_at == datetime(2026, 11, 3, 9, 15, 14, tzinfo=UTC)
