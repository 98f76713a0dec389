"""A small customer of the carrier: answers TwiML, keeps every request, echoes media."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import pytest
from aiohttp import WSMsgType, web
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from turncall_phone import Account, Carrier

ACCOUNT = Account(sid="AC" + "5" * 32, auth_token="phone-test-token", numbers=("+15550100001",))
WORD = b"\x00\x20" * 320

type Answer = str | tuple[int, str] | web.Response
type Media = Callable[[web.WebSocketResponse], Awaitable[None]]


@dataclass
class Asked:
    """One request as the customer saw it."""

    path: str
    method: str
    url: str
    params: Sequence[tuple[str, str]]
    signature: str
    headers: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return dict(self.params)[name]


@dataclass
class Customer:
    """Answers per path, in turn; the last answer repeats."""

    base_url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    media: Media | None = None
    no_media: bool = False
    slow: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(default_factory=dict)
    messages: list[dict[str, object]] = field(default_factory=list)
    media_url: str = ""
    media_signature: str = ""
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str) -> str:
        """An absolute URL of this customer."""
        return self.base_url + path

    def stream_url(self, path: str = "/media") -> str:
        """The same host for a media socket."""
        return self.base_url.replace("http", "ws") + path

    def connect(self, **attributes: str) -> str:
        """TwiML that connects the call to this customer's media socket."""
        given = "".join(f' {name}="{value}"' for name, value in attributes.items())
        return f'<Response><Connect{given}><Stream url="{self.stream_url()}"/></Connect></Response>'

    def on(self, path: str, *answers: Answer) -> str:
        """Answer `path` so; returns its URL."""
        self.answers[path] = list(answers)
        return self.url(path)

    def requests(self, path: str) -> list[Asked]:
        """What was asked of one path."""
        return [asked for asked in self.asked if asked.path == path]

    async def asked_for(self, path: str, *, times: int = 1, timeout_s: float = 20.0) -> list[Asked]:
        """Wait until `path` has been asked `times` times."""
        async with asyncio.timeout(timeout_s), self.news:
            await self.news.wait_for(lambda: len(self.requests(path)) >= times)
        return self.requests(path)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        if request.headers.get("Upgrade", "").lower() == "websocket" and not self.no_media:
            return await self._stream(request)
        body = await request.text()
        pairs = parse_qsl(body, keep_blank_values=True) or parse_qsl(request.query_string, keep_blank_values=True)
        signature = request.headers.get("X-Twilio-Signature", "")
        url = f"http://{request.host}{request.raw_path}"
        async with self.news:
            self.asked.append(Asked(request.path, request.method, url, pairs, signature, dict(request.headers)))
            self.news.notify_all()
        if request.path in self.slow:
            return await self.slow[request.path](request)
        answers = self.answers.get(request.path, [(204, "")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, web.Response):
            return answer
        status, text = (200, answer) if isinstance(answer, str) else answer
        return web.Response(status=status, text=text, content_type="text/xml" if text else "text/plain")

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        self.media_url = f"ws://{request.host}{request.raw_path}"
        self.media_signature = request.headers.get("X-Twilio-Signature", "")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            await (self.media or self.echo)(socket)
        finally:
            await socket.close()
        return socket

    async def read(self, socket: web.WebSocketResponse) -> dict[str, object] | None:
        """The next message of the carrier; None when the socket is closed."""
        message = await socket.receive()
        if message.type is not WSMsgType.TEXT:
            return None
        parsed: dict[str, object] = json.loads(message.data)
        self.messages.append(parsed)
        return parsed

    async def echo(self, socket: web.WebSocketResponse) -> None:
        """Send back what the caller says."""
        while (message := await self.read(socket)) is not None:
            if message["event"] == "media":
                media = message["media"]
                assert isinstance(media, dict)
                body = {"event": "media", "streamSid": message["streamSid"], "media": {"payload": media["payload"]}}
                await socket.send_json(body)

    async def started(self, socket: web.WebSocketResponse) -> str:
        """Read `connected` and `start`; returns the stream's SID."""
        await self.read(socket)
        start = await self.read(socket)
        assert start is not None
        return str(start["streamSid"])

    @staticmethod
    def audio(stream_sid: str, codes: bytes) -> dict[str, object]:
        """A media message."""
        payload = base64.b64encode(codes).decode()
        return {"event": "media", "streamSid": stream_sid, "media": {"payload": payload}}


@pytest.fixture
async def customer() -> AsyncIterator[Customer]:
    """A customer that listens on a free port."""
    peer = Customer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", peer.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    peer.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield peer
    await runner.cleanup()


@pytest.fixture
async def carrier() -> AsyncIterator[Carrier]:
    """A running carrier with one account and one number, whose voice takes 40 ms a word."""
    async with Carrier([ACCOUNT], speak=lambda text, _="": WORD * len(text.split())) as running:
        yield running


class AsyncHttp(AsyncTwilioHttpClient):
    """The vendor's own asynchronous HTTP, pointed at the carrier."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    async def request(self, method, url, *args, **kwargs):  # type: ignore[no-untyped-def]
        return await super().request(method, url.replace("https://api.twilio.com", self._base_url), *args, **kwargs)


@pytest.fixture(scope="session")
def official():
    """Makes the vendor's client, with its asynchronous HTTP, for an account of a carrier."""

    @asynccontextmanager
    async def connected(account: Account, carrier: Carrier) -> AsyncIterator[Client]:
        http = AsyncHttp(carrier.base_url)
        try:
            yield Client(account.sid, account.auth_token, http_client=http)
        finally:
            await http.session.close()

    return connected
