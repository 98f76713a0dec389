"""The client for users' URLs against real sockets on this machine."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx2
import openai
import pytest
from aiohttp import web

from turncall_egress import EgressClient, Failed, Refused, TimedOut, TooLarge, Wall, httpx2_transport
from turncall_testkit.forbidden import FORBIDDEN, forbidden, hostile

LIMITS = {"timeout_s": 5, "max_bytes": 10_000}


class Target:
    """A server on every interface of this machine, which counts who connects and keeps what was asked."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self.over = asyncio.Event()
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    def url(self, host: str = "127.0.0.1", path: str = "/") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.headers), await request.read()))
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": self.url(path="/secret"), "Set-Cookie": "a=b"})
        if request.path == "/large":
            return web.Response(body=b"x" * 10_001)
        if request.path == "/endless":
            return await _endless(request)
        if request.path == "/compressed":
            return web.Response(body=gzip.compress(b"x" * 1_000_000), headers={"Content-Encoding": "gzip"})
        if request.path == "/silent":
            await self.over.wait()
        return web.json_response({"ok": True}, status=201)


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 1000)


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """Reachable as 127.0.0.1, 127.0.0.2, ::1 and so on."""
    made = Target()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    server = runner.server
    assert server is not None

    def counted() -> asyncio.Protocol:
        made.connections += 1
        return server()

    everywhere = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    listener = await asyncio.get_running_loop().create_server(counted, sock=everywhere)
    made.port = everywhere.getsockname()[1]
    yield made
    made.over.set()
    listener.close()
    await runner.cleanup()


def _resolver(**found: Sequence[Sequence[str]]) -> Callable[[str], Awaitable[Sequence[str]]]:
    """Answers each name with its next list of addresses, then with its last one for ever."""
    left = {name: list(answers) for name, answers in found.items()}

    async def resolve(host: str) -> Sequence[str]:
        answers = left.get(host.partition(".")[0])
        if answers is None:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return resolve


OPEN = Wall(["127.0.0.1/32"], _resolver(hook=[["127.0.0.1"]]))


async def test_an_allowed_host_gets_the_request(target: Target) -> None:
    """Method, path, headers and body arrive, under the name and not the address; the answer comes back whole."""
    async with EgressClient(OPEN) as client:
        answer = await client.request(
            "POST",
            target.url("hook.test", "/a?b=c"),
            body=b'{"x":1}',
            headers={"Content-Type": "application/json"},
            **LIMITS,
        )

    assert (answer.status, answer.body) == (201, b'{"ok": true}')
    assert answer.headers["content-type"].startswith("application/json")
    [(method, path, headers, body)] = target.requests
    assert (method, path, body) == ("POST", "/a", b'{"x":1}')
    assert headers["Host"] == f"hook.test:{target.port}"
    assert headers["Content-Type"] == "application/json"


async def test_redirects_are_answers(target: Target) -> None:
    """Where a redirect leads is never visited, and a cookie it sets never comes back."""
    async with EgressClient(OPEN) as client:
        answer = await client.request("GET", target.url("hook.test", "/redirect"), **LIMITS)
        await client.request("GET", target.url("hook.test", "/next"), **LIMITS)

    assert answer.status == 302
    assert [path for _, path, _, _ in target.requests] == ["/redirect", "/next"]
    assert "Cookie" not in target.requests[1][2]


@pytest.mark.parametrize("path", ["/large", "/endless"])
async def test_long_answers_are_cut(target: Target, path: str) -> None:
    """An answer over the cap ends the request, whether it says its length or not."""
    async with EgressClient(OPEN) as client:
        with pytest.raises(TooLarge):
            await client.request("GET", target.url("hook.test", path), **LIMITS)


async def test_compressed_answers_are_not_taken(target: Target) -> None:
    """We ask for none, and one that comes all the same cannot swell here."""
    async with EgressClient(OPEN) as client:
        with pytest.raises(Failed, match="compressed"):
            await client.request("GET", target.url("hook.test", "/compressed"), **LIMITS)
    assert target.requests[0][2]["Accept-Encoding"] == "identity"


async def test_the_deadline_covers_everything(target: Target) -> None:
    """A silent server and a name server that hangs both end in time."""

    async def hang(_: str) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with EgressClient(OPEN) as client:
        with pytest.raises(TimedOut):
            await client.request("GET", target.url("hook.test", "/silent"), timeout_s=0.1, max_bytes=10)
    async with EgressClient(Wall(["127.0.0.1/32"], hang)) as client:
        with pytest.raises(TimedOut):
            await client.request("GET", target.url("hook.test"), timeout_s=0.1, max_bytes=10)


async def test_broken_connections_fail(target: Target) -> None:
    """A closed port and an unknown name are failures that name the host and nothing else."""
    async with EgressClient(OPEN) as client:
        with pytest.raises(Failed, match=r"hook\.test"):
            await client.request("GET", "http://hook.test:19999/?token=abc", **LIMITS)
        with pytest.raises(Failed, match=r"nowhere\.test"):
            await client.request("GET", target.url("nowhere.test"), **LIMITS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "internal"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("X-A", "b\r\nX-C: d"),
        ("X A", "b"),
        ("", "b"),
        ("X-Ä", "b"),
        ("X-A", "\x00"),
    ],
)
async def test_headers_cannot_move_or_split_a_request(target: Target, name: str, value: str) -> None:
    """A user's header changes neither where a request goes nor how long it is."""
    async with EgressClient(OPEN) as client:
        with pytest.raises(Refused) as refused:
            await client.request("GET", target.url("hook.test"), headers={name: value}, **LIMITS)
    assert refused.value.reason == "header"
    assert target.connections == 0


async def test_forbidden_urls_reach_nobody(target: Target) -> None:
    """Encodings, families, metadata addresses and names that lead inside: refused, and no connection is made."""
    assert len(FORBIDDEN) >= 120
    async with EgressClient(Wall([], hostile)) as client:
        for url in forbidden(target.port):
            with pytest.raises((Refused, Failed)):
                await client.request("GET", url, **LIMITS)

    assert target.connections == 0


async def test_sdk_clients_stand_behind_the_same_wall(target: Target) -> None:
    """What our own client refuses, an SDK's client refuses too, before any connection."""
    refusals = (Refused, httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.ConnectError)
    async with httpx2_transport.walled_client(Wall([], hostile), 5) as client:
        for url in forbidden(target.port):
            with pytest.raises(refusals):
                await client.get(url)
    assert target.connections == 0

    async with httpx2_transport.walled_client(OPEN, 5) as client:
        assert (await client.get(target.url("hook.test"))).status_code == 201
        assert (await client.get(target.url("hook.test", "/redirect"))).status_code == 302
        for closed in (target.url("127.0.0.2"), target.url("user:pw@hook.test"), "http://hook.test:25/"):
            with pytest.raises(Refused):
                await client.get(closed)
    assert [path for _, path, _, _ in target.requests] == ["/", "/redirect"]


async def test_an_sdk_talks_through_the_wall(target: Target) -> None:
    """The openai SDK with a user's base URL reaches an allowed host and no other."""
    for wall, reached in [(Wall([], hostile), 0), (OPEN, 1)]:
        async with httpx2_transport.walled_client(wall, 5) as http:
            sdk = openai.AsyncOpenAI(
                base_url=target.url("hook.test", "/v1"), api_key="sk-test", http_client=http, max_retries=0
            )
            if reached:
                await sdk.models.list()
            else:
                with pytest.raises(Refused):
                    await sdk.models.list()
        assert target.connections == reached


async def test_rebinding_names_gain_nothing(target: Target) -> None:
    """A name that is public when checked and internal a moment later: the checked address is what is connected to.

    127.0.0.1 plays the public address here, 127.0.0.2 the internal one.
    """
    async with EgressClient(Wall(["127.0.0.1/32"], _resolver(flip=[["127.0.0.1"], ["127.0.0.2"]]))) as client:
        answer = await client.request("GET", target.url("flip.test", "/first"), **LIMITS)
        assert answer.status == 201
    async with EgressClient(Wall(["127.0.0.1/32"], _resolver(flip=[["127.0.0.2"], ["127.0.0.1"]]))) as client:
        with pytest.raises(Refused):
            await client.request("GET", target.url("flip.test", "/second"), **LIMITS)

    assert [path for _, path, _, _ in target.requests] == ["/first"]
    assert target.connections == 1


async def test_unreachable_addresses_are_passed_over(target: Target) -> None:
    """A host whose first address cannot be reached is reached at its second one, by either client."""
    wall = Wall(["127.0.0.0/8", "255.255.255.255/32"], _resolver(dual=[["255.255.255.255", "127.0.0.1"]]))
    async with EgressClient(wall) as client, httpx2_transport.walled_client(wall, 5) as sdk:
        assert (await client.request("GET", target.url("dual.test"), **LIMITS)).status == 201
        assert (await sdk.get(target.url("dual.test"))).status_code == 201


async def test_proxy_variables_are_not_heeded(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ambient proxy would connect on our behalf, past the wall, even where the proxy's own address is open."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, target.url("127.0.0.1"))
    wall = Wall(["127.0.0.1/32"], _resolver(inside=[["127.0.0.2"]]))
    async with EgressClient(wall) as client, httpx2_transport.walled_client(wall, 5) as sdk:
        with pytest.raises(Refused):
            await client.request("GET", "http://inside.test/", **LIMITS)
        with pytest.raises(Refused):
            await sdk.get("http://inside.test/")

    assert target.connections == 0


async def test_tls_is_asked_of_the_name_and_not_of_the_address() -> None:
    """Connected to a checked address, either client still greets the host by name and so verifies its certificate."""
    greetings: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greetings.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    url = f"https://hook.test:{server.sockets[0].getsockname()[1]}/"
    async with server, EgressClient(OPEN) as client, httpx2_transport.walled_client(OPEN, 5) as sdk:
        with pytest.raises(Failed):
            await client.request("GET", url, **LIMITS)
        with pytest.raises(httpx2.ConnectError):
            await sdk.get(url)

    assert [b"hook.test" in greeting for greeting in greetings] == [True, True]
