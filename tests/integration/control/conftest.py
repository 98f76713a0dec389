"""The control plane in this process, over a real database, bus and Redis, with an emulated carrier."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import isawaitable
from secrets import token_hex
from typing import Annotated, Any, Literal

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient, Response
from litestar import Litestar
from litestar.routes import HTTPRoute

from turncall_control import config as configuration
from turncall_control.app import create_app
from turncall_control.config import ControlConfig
from turncall_control.migrations.upgrade import upgrade
from turncall_control.plane import Plane
from turncall_control.vendors.catalogue import Catalogue, parsed
from turncall_devstack import DatabaseUrls, create_database, drop_database
from turncall_phone import Account, Carrier
from turncall_runtime.seal import new_keypair
from turncall_runtime.secret import Secret
from turncall_testkit.stack import Migrate, Stack

PUBLIC_URL = "https://voice.example.com"
PLATFORM_KEY = "the-operators-platform-key"
ACCOUNT = Account(
    sid="AC" + "7" * 32, auth_token="control-test-token", numbers=("+15550100001", "+15550100002", "+15550100003")
)


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vendor that needs neither key nor options."""

    reply: str = "hello"


class AcmeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vendor with rules."""

    model: Literal["small", "large"]
    speed: Annotated[float, msgspec.Meta(ge=0.5, le=2.0)] = 1.0
    beams: Annotated[int, msgspec.Meta(ge=1)] = 1


def _vendor(options: type[msgspec.Struct], *, needs_secret: bool) -> dict[str, Any]:
    return {"capabilities": {"needs_secret": needs_secret, "rates_hz": []}, "options": msgspec.json.schema(options)}


def vendors() -> Catalogue:
    """Two vendors of each kind, described as the media plane describes its own."""
    both = {"local": _vendor(LocalOptions, needs_secret=False), "acme": _vendor(AcmeOptions, needs_secret=True)}
    return parsed(msgspec.json.encode(dict.fromkeys(("stt", "llm", "tts", "speech", "embed", "avatar"), both)))


class Api:
    """Requests with one key, or with none."""

    def __init__(self, client: AsyncClient, headers: dict[str, str], project_id: str = "") -> None:
        self._client = client
        self.headers = headers
        self.project_id = project_id

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        """One request; ``body`` is sent as JSON."""
        headers = self.headers | options.pop("headers", {})
        if body is not None:
            options["json"] = body
        return await self._client.request(method, path, headers=headers, **options)

    async def done(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The answer's JSON; fails unless it is a success."""
        response = await self.ask(method, path, body, **options)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def refused(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The problem document; fails unless it has ``status`` and the one shape."""
        response = await self.ask(method, path, body, **options)
        assert response.status_code == status, response.text
        return _problem_of(response)


def _problem_of(response: Response) -> dict[str, Any]:
    """The problem in a response, after checking that it has the shape that all of them have."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    document: dict[str, Any] = response.json()
    assert document["type"].startswith("urn:turncall:problem:")
    assert document["title"]
    assert document["status"] == response.status_code
    assert document["request_id"] == response.headers["x-request-id"]
    assert set(document) <= {"type", "title", "status", "request_id", "detail", "errors"}
    assert "Traceback" not in response.text
    return document


class Control:
    """One running control plane."""

    def __init__(self, client: AsyncClient, app: Litestar, config: ControlConfig) -> None:
        self.client = client
        self.app = app
        self.config = config
        self.anybody = Api(client, {})
        self.operator = Api(client, {"X-Platform-Key": PLATFORM_KEY})

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a statement, as the login that sees every project."""
        async with self.plane.database.pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    @property
    def plane(self) -> Plane:
        """What the process holds open."""
        plane: Plane = self.app.state.plane
        return plane

    async def ready(self, timeout_s: float = 60.0) -> "Control":
        """This control plane, once it reaches its database and the bus; before, a process refuses what it is asked."""
        async with asyncio.timeout(timeout_s):
            while True:
                told = (await self.client.get("/ready")).json()
                if told["database"] and told["bus"]:
                    return self
                await asyncio.sleep(0.05)

    async def tenant(self, role: str = "admin", project_id: str = "") -> Api:
        """Requests with a new key of a role, in a new project unless one is named."""
        if not project_id:
            project_id = (await self.operator.done("POST", "/v1/projects", {"name": "Acme"}))["id"]
        made = await self.operator.done("POST", f"/v1/projects/{project_id}/keys", {"name": role, "role": role})
        return Api(self.client, {"Authorization": f"Bearer {made['secret']}"}, project_id)


@pytest.fixture(scope="session")
def problem_of() -> Callable[[Response], dict[str, Any]]:
    """Checks the shape that all problems have, and returns the document."""
    return _problem_of


@pytest.fixture(scope="session")
def a_config() -> Callable[..., dict[str, Any]]:
    """Makes an agent's definition that needs no key; ``stt``, ``llm`` and ``tts`` replace stages,
    ``speech`` the whole pipeline, and the rest is added."""

    def made(**changes: Any) -> dict[str, Any]:
        if "speech" in changes:
            return {"pipeline": {"kind": "speech", **changes.pop("speech")}, **changes}
        stages = {kind: changes.pop(kind, {"vendor": "local"}) for kind in ("stt", "llm", "tts")}
        return {"pipeline": {"kind": "cascade", **stages}, **changes}

    return made


class Witness:
    """Remembers every act that succeeded, and finds the entry of each in the audit log: of every route that is tried.

    Tests of a new route need nothing for it; one that changes something without leaving an entry fails its tests.
    """

    def __init__(self, app: Litestar) -> None:
        self._audited = [
            (method, re.compile(re.sub(r"{[^}]+}", "[^/]+", route.path_format)), handler.handler_name)
            for route in app.routes
            if isinstance(route, HTTPRoute)
            for handler in route.route_handlers
            for method in handler.http_methods
            if handler.opt.get("audited") and route.path_format.startswith("/v1/")
        ]
        self._acts: dict[str, str] = {}

    async def saw(self, response: Response) -> None:
        """Called with every answer."""
        request = response.request
        if response.is_success and "idempotency-replayed" not in response.headers:
            for method, path, name in self._audited:
                if method == request.method and path.fullmatch(request.url.path):
                    self._acts[response.headers["x-request-id"]] = name

    async def check(self, control: Control) -> None:
        """Fails when an act left no entry."""
        if self._acts:
            rows = await control.sql(
                "select request_id, operation from audit_entries where request_id = any(%s)", list(self._acts)
            )
            left_none = self._acts.items() - dict(rows).items()
            assert not left_none, f"left no entry in the audit log: {sorted(name for _, name in left_none)}"


Environ = dict[str, str]
Running = Callable[..., AbstractAsyncContextManager[Control]]


@pytest.fixture(scope="session")
def migrate() -> Migrate:
    """The schema, from the migrations."""
    return _migrate


async def _migrate(urls: DatabaseUrls) -> None:
    await asyncio.to_thread(upgrade, Secret(urls.migrate))


@pytest.fixture(scope="module")
async def carrier() -> AsyncIterator[Carrier]:
    """The carrier whose account the control planes use."""
    async with Carrier([ACCOUNT]) as running_carrier:
        yield running_carrier


@pytest.fixture(scope="module")
async def shared_database(stack: Stack, migrate: Migrate) -> AsyncIterator[DatabaseUrls]:
    """One database for a module: its tests keep apart by working in projects of their own."""
    name = f"module_{token_hex(6)}"
    urls = await create_database(stack.urls.database, name, await stack.template(migrate))
    yield urls
    await drop_database(stack.urls.database, name)


@pytest.fixture(scope="module")
def environ(stack: Stack, shared_database: DatabaseUrls, carrier: Carrier) -> Environ:
    """The environment of a control plane over the module's database and carrier."""
    return {
        "TURNCALL_ENV": "development",
        "TURNCALL_PUBLIC_URL": PUBLIC_URL,
        "TURNCALL_DATABASE_API_URL": shared_database.api,
        "TURNCALL_DATABASE_SYSTEM_URL": shared_database.system,
        "TURNCALL_REDIS_URL": stack.urls.redis_url,
        "TURNCALL_NATS_URL": stack.urls.nats_url,
        "TURNCALL_BLOBS_URL": stack.urls.blobs_url,
        "TURNCALL_BLOBS_ACCESS_KEY": stack.urls.blobs_access_key,
        "TURNCALL_BLOBS_SECRET_KEY": stack.urls.blobs_secret_key,
        "TURNCALL_PLATFORM_KEY": PLATFORM_KEY,
        # All tests come from one address, and many of them without a good key.
        "TURNCALL_RATE_ADDRESS_PER_MINUTE": "1000000",
        "TURNCALL_RATE_REFUSED_PER_MINUTE": "1000000",
        "TURNCALL_SEAL_PUBLIC_KEY": new_keypair().public_key,
        "TURNCALL_EGRESS_ALLOW": "127.0.0.0/8",
        "TURNCALL_TWILIO_ACCOUNT_SID": ACCOUNT.sid,
        "TURNCALL_TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
        "TURNCALL_TWILIO_BASE_URL": carrier.base_url,
    }


@asynccontextmanager
async def running(environ: Environ, *, packaged: bool = False) -> AsyncIterator[Control]:
    """A control plane with this environment; it knows two vendors of the tests', or those of the contract."""
    config = configuration.read(environ)
    app = create_app(config, vendors=None if packaged else vendors())
    # Not Litestar's own client: it runs the application in another thread, one request at a time.
    transport = ASGITransport(app, raise_app_exceptions=False)
    witness = Witness(app)
    hooks = {"response": [witness.saw]}
    async with _lived(app), AsyncClient(transport=transport, base_url="http://control", event_hooks=hooks) as client:
        started = Control(client, app, config)
        yield started
        await witness.check(started)


@asynccontextmanager
async def _lived(app: Litestar) -> AsyncIterator[None]:
    """The application's lifespan in a task of its own: a fixture begins and ends in different ones."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await ended.wait()

    life = asyncio.create_task(live())
    life.add_done_callback(lambda _: started.set())
    await started.wait()
    try:
        if not life.done():
            yield
    finally:
        ended.set()
        await life


@pytest.fixture(scope="module")
def run() -> Running:
    """Starts a control plane with an environment of the test's own making."""
    return running


@pytest.fixture(scope="module")
async def control(environ: Environ) -> AsyncIterator[Control]:
    """The module's control plane."""
    async with running(environ) as started:
        yield await started.ready()


@pytest.fixture
async def tenant(control: Control) -> Api:
    """An admin of a new project."""
    return await control.tenant()


@pytest.fixture(scope="session")
def comes_true() -> Callable[..., Any]:
    """Returns once a claim holds; it may be a coroutine function."""

    async def waited(claim: Callable[[], Any], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while True:
                holds = claim()
                if await holds if isawaitable(holds) else holds:
                    return
                await asyncio.sleep(0.05)

    return waited
