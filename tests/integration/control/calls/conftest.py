"""A control plane over real servers, with a worker of a few lines, and a carrier that remembers what it was asked."""

import asyncio
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import httpx
import msgspec
import nats as nats_client
import pytest
import pytest_asyncio
from aiohttp import web
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from nats.js.errors import NotFoundError
from psycopg.types.json import Jsonb
from twilio.request_validator import RequestValidator

from turncall_bus import nats
from turncall_bus.bus import Away, Bus
from turncall_control.app import create_app
from turncall_control.auth import Role
from turncall_control.config import ControlConfig
from turncall_control.keyring import new_key
from turncall_control.migrations.upgrade import upgrade
from turncall_control.plane import Plane
from turncall_control.vendors import catalogue
from turncall_control.webhooks.routes import send_events
from turncall_devstack import DevStack, create_database, drop_database
from turncall_proto import ids, subjects
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.events import CallEvent, CallStarted, EpochClosed, EpochOpened
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId, WorkerId
from turncall_proto.placement import CallOffer, OfferReply, WorkerBeat
from turncall_runtime.metrics import new_registry
from turncall_runtime.seal import new_keypair
from turncall_runtime.secret import Secret
from turncall_testkit.stack import Migrate, Stack

ACCOUNT = "AC" + "a" * 32
AUTH_TOKEN = "turncall-test-token"
PUBLIC_URL = "https://voice.example.com"
PATIENCE_S = 20.0
"""A busy machine stands still at times; what is waited for comes at once otherwise."""
STREAM_KEYS = "t1:a-secret-of-this-test"
MASTER_KEYS = "t1:" + b64encode(b"a master key of this test alone!").decode()
AGENT = AgentSpec(
    pipeline=Cascade(stt=VendorRef(vendor="deepgram"), llm=VendorRef(vendor="echo"), tts=VendorRef(vendor="local")),
    first_message="Hello.",
)


@dataclass
class RestFace:
    """Twilio's REST for calls: keeps what it was asked; ``answers`` are used up in turn, then it is content.

    A call that is placed has the SID ``Calls``.
    """

    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    base_url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        sid = request.path.rsplit("/", 1)[-1].removesuffix(".json")
        self.asked.append((request.method, sid, form))
        status, body = self.answers.pop(0) if self.answers else (200, {"status": "completed"})
        return web.json_response({"sid": sid, **body}, status=status)

    def redirected(self, sid: str) -> list[str]:
        """Where the call was redirected to, each time."""
        return [form["Url"] for method, asked, form in self.asked if (method, asked) == ("POST", sid) and "Url" in form]

    def ended(self, sid: str) -> int:
        """How often the call was asked to end."""
        return sum(asked == ("POST", sid, {"Status": "completed"}) for asked in self.asked)


@dataclass
class Desk:
    """A running control plane and a project in it with one number, ``number``, answered by a published agent."""

    plane: Plane
    http: httpx.AsyncClient
    bus: Bus
    rest: RestFace
    project_id: ProjectId
    agent_id: AgentId
    version_id: VersionId
    number_id: NumberId
    number: str
    bearer: dict[str, str]
    seal_private_key: Secret

    async def twilio_asks(self, path: str, form: Sequence[tuple[str, str]], **headers: str) -> httpx.Response:
        """A request with Twilio's signature over the public URL."""
        signature = RequestValidator(AUTH_TOKEN).compute_signature(self.plane.config.public_url + path, _Multi(form))
        return await self.http.post(
            path,
            content=urlencode(form),
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Twilio-Signature": signature,
                **headers,
            },
        )

    async def rings(self, sid: str, **changes: str) -> httpx.Response:
        """Twilio's first webhook for a call."""
        return await self.twilio_asks("/webhooks/twilio/voice/inbound", self.form(sid, **changes))

    async def says(self, sid: str, status: str, **changes: str) -> httpx.Response:
        """Twilio's status callback."""
        return await self.twilio_asks("/webhooks/twilio/voice/status", self.form(sid, CallStatus=status, **changes))

    def form(self, sid: str, **changes: str) -> list[tuple[str, str]]:
        """What Twilio sends with every webhook of a call."""
        values = {
            "CallSid": sid,
            "AccountSid": ACCOUNT,
            "From": "+15550001111",
            "To": self.number,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "FromCity": "",
            **changes,
        }
        return list(values.items())

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """A request of the project's user."""
        return await self.http.get(path, headers={**self.bearer, **options.pop("headers", {})}, **options)

    async def subscribed(self) -> UUID:
        """A subscription to everything, whose deliveries are looked at in the database."""
        made = await self.http.post("/v1/webhooks", json={"url": "http://127.0.0.1:65000/hooks"}, headers=self.bearer)
        assert made.status_code == 201, made.text
        return ids.parsed(ids.WEBHOOK, made.json()["webhook"]["id"])

    async def hears_of(self, subscription: UUID, session_id: str) -> list[tuple[str, str]]:
        """What a subscriber hears of a session until it expires, which it does at once: each event with its channel."""
        await self.execute(
            "update sessions set expires_at = now() - interval '1 s' where id = %s", ids.parsed(ids.SESSION, session_id)
        )

        async def has_expired() -> bool:
            return bool((await self.get(f"/v1/sessions/{session_id}")).json()["state"] == "expired")

        await self.comes_true(has_expired, timeout_s=60)
        return await self.rows(
            "select type, data->>'channel' from webhook_deliveries where webhook_id = %s"
            " and coalesce(data->>'session_id', data->>'id') = %s order by id",
            subscription,
            session_id,
        )

    async def admin(self) -> dict[str, str]:
        """The header of an admin of the project."""
        made = new_key(self.plane.config.key_pepper)
        await self.execute(
            "insert into api_keys (id, project_id, name, role, prefix, hash) values (%s, %s, 'admin', %s, %s, %s)",
            uuid4(),
            ids.parsed(ids.PROJECT, self.project_id),
            Role.ADMIN,
            made.prefix,
            made.hash,
        )
        return {"Authorization": f"Bearer {made.text.reveal()}"}

    async def another_project(self) -> dict[str, str]:
        """The header of a user of another project."""
        return await _key_header(self, uuid4())

    async def call(self, call_id: CallId) -> dict[str, Any]:
        """The call as the API shows it."""
        answer = await self.get(f"/v1/calls/{call_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def becomes(self, call_id: CallId, timeout_s: float = PATIENCE_S, **wanted: Any) -> dict[str, Any]:
        """The call once its fields are as wanted."""
        shown: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    shown = await self.call(call_id)
                    if {name: shown[name] for name in wanted} == wanted:
                        return shown
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{wanted} did not come true: {shown}") from None

    async def types(self, call_id: CallId) -> list[str]:
        """The types of the call's facts in ``call_seq`` order."""
        answer = await self.get(f"/v1/calls/{call_id}/events", params={"internal": True, "limit": 200})
        return [event["type"] for event in answer.json()["items"]]

    async def comes(self, call_id: CallId, tag: str, timeout_s: float = PATIENCE_S) -> list[str]:
        """The types of the call's facts once one of the type is among them."""
        types: list[str] = []
        try:
            async with asyncio.timeout(timeout_s):
                while tag not in types:
                    types = await self.types(call_id)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{tag} did not come; only {types}") from None
        return types

    async def comes_true(self, claim: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
        """Returns once the claim holds; it may be a coroutine function."""
        async with asyncio.timeout(timeout_s):
            while True:
                holds = claim()
                if await holds if isawaitable(holds) else holds:
                    return
                await asyncio.sleep(0.02)

    async def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the database holds."""
        async with self.plane.database.pool.connection() as connection:
            return await (await connection.execute(query.encode(), parameters)).fetchall()

    async def execute(self, query: str, *parameters: object) -> None:
        """Changes what the database holds."""
        async with self.plane.database.pool.connection() as connection:
            await connection.execute(query.encode(), parameters)


class _Multi:
    """A form as the vendor's validator reads it."""

    def __init__(self, form: Sequence[tuple[str, str]]) -> None:
        self._form = form

    def __iter__(self) -> Any:
        return iter([name for name, _ in self._form])

    def getall(self, name: str) -> list[str]:
        """Every value of a name."""
        return [value for given, value in self._form if given == name]


class Worker:
    """A media worker of a few lines: beats, answers offers with ``answer``, states facts."""

    def __init__(self, bus: Bus) -> None:
        self.id = WorkerId(ids.mint(ids.WORKER))
        self.answer: str = "accepted"
        self.offers: list[CallOffer] = []
        self.bus = bus
        self._seqs: dict[tuple[CallId, int], int] = {}
        self.is_draining = False
        self.is_frozen = False
        self.slots = 10
        self.media_url = "wss://media.example.com"

    async def offered(self, data: bytes) -> bytes:
        """Answers an offer; a frozen worker does so too late."""
        if self.is_frozen:
            await asyncio.sleep(0.5)
        self.offers.append(decode(data, CallOffer))
        return encode(OfferReply(worker=self.id, answer=self.answer))  # type: ignore[arg-type]

    async def beat(self) -> None:
        """Tells control that it lives."""
        beat = WorkerBeat(
            worker=self.id,
            pool="calls",
            slots_total=self.slots,
            slots_used=0,
            lag_ms=1.0,
            version="test",
            media_url=self.media_url,
            is_draining=self.is_draining,
        )
        await self.bus.tell(subjects.beat("calls", self.id), encode(beat))

    def fact(self, kind: type[CallEvent], plan: CallStart, /, seq: int | None = None, **facts: Any) -> CallEvent:
        """A fact of this worker's epoch, numbered on."""
        key = (plan.call_id, plan.epoch)
        number = seq if seq is not None else self._seqs.get(key, 0) + 1
        self._seqs[key] = max(number, self._seqs.get(key, 0))
        header = {"call_id": plan.call_id, "project_id": plan.project_id, "epoch": plan.epoch, "seq": number}
        return kind(**header, at=datetime.now(UTC), **facts)

    async def publish(self, *facts: CallEvent, suffix: str = "") -> None:
        """Publishes facts; with a ``suffix`` the server does not know a repeat for one."""
        for fact in facts:
            message_id = subjects.message_id(fact.call_id, fact.epoch, fact.seq) + suffix
            subject = subjects.call(fact.project_id, fact.call_id, "event")
            await self.bus.publish(subject, encode(fact), message_id=message_id)

    async def opens(self, plan: CallStart) -> None:
        """Takes the epoch's audio and goes live."""
        await self.publish(self.fact(EpochOpened, plan, worker=self.id), self.fact(CallStarted, plan, setup_ms=12))

    async def closes(self, plan: CallStart, state: CallState | None = None, reason: EndedReason | None = None) -> None:
        """Closes the epoch."""
        await self.publish(self.fact(EpochClosed, plan, state=state, reason=reason))


OpenDesk = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture(scope="session")
def open_desk(stack: Stack, migrate: Migrate, tmp_path_factory: pytest.TempPathFactory) -> OpenDesk:
    """Starts a control plane: ``open_desk(rest, is_reachable=True)`` has a public URL that others can ask.

    ``own`` are servers of the test's own, which it may stop; ``settings`` are fields of its configuration.
    """

    @asynccontextmanager
    async def opened(
        rest: RestFace,
        *,
        is_reachable: bool = False,
        twilio_base_url: str = "",
        own: DevStack | None = None,
        **settings: Any,
    ) -> AsyncIterator[Desk]:
        port = _free_port()
        name = f"calls_{uuid4().hex[:12]}"
        nats_url = own.urls.nats_url if own else stack.urls.nats_url
        if own:
            database = own.urls.database
            await asyncio.to_thread(upgrade, Secret(database.migrate))
        else:
            database = await create_database(stack.urls.database, name, await stack.template(migrate))
            await _clean(nats_url)
        pair = new_keypair()
        config = ControlConfig(
            env="development",
            prices_file=str(Path(__file__).with_name("prices.json")),
            public_url=f"http://127.0.0.1:{port}" if is_reachable else PUBLIC_URL,
            database_api_url=Secret(database.api),
            database_system_url=Secret(database.system),
            redis_url=Secret(stack.urls.redis_url),
            nats_url=Secret(nats_url),
            blobs_url=f"file://{tmp_path_factory.mktemp('blobs')}",
            key_pepper=Secret("pepper-of-this-test"),
            master_keys=Secret(MASTER_KEYS),
            stream_keys=Secret(STREAM_KEYS),
            seal_public_key=pair.public_key,
            twilio_account_sid=ACCOUNT,
            twilio_auth_token=Secret(AUTH_TOKEN),
            twilio_base_url=twilio_base_url or rest.base_url,
            vendor_keys={"deepgram": Secret("deepgram-key")},
            egress_allow=("127.0.0.0/8",),
            **settings,
        )
        async with AsyncExitStack() as running:
            if not own:
                running.push_async_callback(_clean, nats_url)
                running.push_async_callback(drop_database, stack.urls.database, name)
            plane, base_url = await running.enter_async_context(_served(config, port))
            http = await running.enter_async_context(httpx.AsyncClient(base_url=base_url))
            bus = await nats.connect(nats_url, name="test")
            running.push_async_callback(bus.close)
            yield await _furnished(plane, http, bus, rest, pair.private_key)

    return opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(open_desk: OpenDesk) -> AsyncIterator[Desk]:
    """One control plane for the tests of a module; each test has calls of its own."""
    async with _rest_face() as rest, open_desk(rest) as desk:
        yield desk


@pytest.fixture(scope="session")
def open_worker() -> Callable[[Desk], AbstractAsyncContextManager[Worker]]:
    """Starts a worker that control knows; it drains at the end."""
    return _working


@pytest_asyncio.fixture(loop_scope="session")
async def worker(desk: Desk) -> AsyncIterator[Worker]:
    """A worker that control knows; it drains when the test ends."""
    async with _working(desk) as worker:
        yield worker


@asynccontextmanager
async def _working(desk: Desk) -> AsyncIterator[Worker]:
    worker = Worker(desk.bus)
    serving = await desk.bus.serve(subjects.offer(worker.id), worker.offered)
    beating = asyncio.create_task(_beat(worker))
    try:
        await desk.comes_true(lambda: worker.id in [beat.worker for beat in desk.plane.workers.alive("calls")])
        yield worker
    finally:
        beating.cancel()
        worker.is_draining = True
        await worker.beat()
        await serving.close()
        # Its calls are forgotten with it, or control would look after them during the next test.
        await desk.execute("update calls set over_at = now(), settled_at = now() where over_at is null")


@pytest.fixture
def sid() -> str:
    """A call of the test's own, as the carrier names it."""
    return "CA" + uuid4().hex


@pytest.fixture
def call_id(sid: str) -> CallId:
    """The id that the call gets."""
    return ids.inbound_call_id("twilio", ACCOUNT, sid)


async def _beat(worker: Worker) -> None:
    while True:
        if not worker.is_frozen:
            with suppress(Away):
                await worker.beat()
        await asyncio.sleep(0.2)


@pytest_asyncio.fixture(loop_scope="session")
async def rest_face() -> AsyncIterator[RestFace]:
    """A carrier's REST of the test's own."""
    async with _rest_face() as rest:
        yield rest


@asynccontextmanager
async def _rest_face() -> AsyncIterator[RestFace]:
    face = RestFace()
    app = web.Application()
    app.router.add_route("*", "/2010-04-01/Accounts/{account}/Calls/{call}", face.handle)
    app.router.add_route("POST", "/2010-04-01/Accounts/{account}/Calls.json", face.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        face.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield face
    finally:
        await runner.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _vendors() -> catalogue.Catalogue:
    """The vendors of `AGENT`, which take no options, and one whose key nobody holds."""
    options = {"type": "object", "properties": {}, "additionalProperties": False}

    def vendor(needs_secret: bool) -> dict[str, Any]:
        return {"capabilities": {"needs_secret": needs_secret, "rates_hz": []}, "options": options}

    known = {"deepgram": vendor(True), "echo": vendor(False), "local": vendor(False), "keyless": vendor(True)}
    return catalogue.parsed(msgspec.json.encode(dict.fromkeys(("stt", "llm", "tts"), known)))


@asynccontextmanager
async def _served(config: ControlConfig, port: int) -> AsyncIterator[tuple[Plane, str]]:
    """The application on a real HTTP server of this process, so that streams stream."""
    app = create_app(config, vendors=_vendors())
    server = Server(
        app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, http=HTTPModes.http1, log_enabled=False
    )
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10), httpx.AsyncClient() as http:
            while True:
                try:
                    await http.get(f"http://127.0.0.1:{port}/v1/calls")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
        yield app.state.plane, f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        await serving


async def _furnished(plane: Plane, http: httpx.AsyncClient, bus: Bus, rest: RestFace, private_key: Secret) -> Desk:
    """A project with a key, a published agent and a number."""
    project_id = uuid4()
    desk = Desk(
        plane=plane,
        http=http,
        bus=bus,
        rest=rest,
        project_id=ProjectId(ids.written(ids.PROJECT, project_id)),
        agent_id=AgentId(ids.mint(ids.AGENT)),
        version_id=VersionId(ids.mint(ids.VERSION)),
        number_id=NumberId(ids.mint(ids.NUMBER)),
        number=f"+1555{uuid4().int % 10**7:07d}",
        bearer={},
        seal_private_key=private_key,
    )
    project, agent = project_id, ids.parsed(ids.AGENT, desk.agent_id)
    desk.bearer = await _key_header(desk, project_id)
    await desk.execute(
        "insert into agents (id, project_id, name, environment) values (%s, %s, 'Test', 'production')", agent, project
    )
    await desk.execute(
        "insert into agent_versions (id, project_id, agent_id, number, state, config, published_at)"
        " values (%s, %s, %s, 1, 'published', %s, now())",
        ids.parsed(ids.VERSION, desk.version_id),
        project,
        agent,
        Jsonb(msgspec.to_builtins(AGENT)),
    )
    await desk.execute(
        "insert into numbers (id, project_id, settings, e164, carrier, carrier_sid)"
        " values (%s, %s, %s, %s, 'twilio', %s)",
        ids.parsed(ids.NUMBER, desk.number_id),
        project,
        Jsonb({"routing": {"kind": "agent", "agent_id": desk.agent_id}}),
        desk.number,
        "PN" + uuid4().hex,
    )
    return desk


async def _key_header(desk: Desk, project_id: UUID) -> dict[str, str]:
    """Makes a project with one key; returns the header that its user sends."""
    made = new_key(desk.plane.config.key_pepper)
    await desk.execute("insert into projects (id, name) values (%s, 'Test')", project_id)
    await desk.execute(
        "insert into api_keys (id, project_id, name, role, prefix, hash) values (%s, %s, 'test', %s, %s, %s)",
        uuid4(),
        project_id,
        Role.DEVELOPER,
        made.prefix,
        made.hash,
    )
    return {"Authorization": f"Bearer {made.text.reveal()}"}


async def _clean(nats_url: str) -> None:
    """No calls and jobs in the streams and no consumer: facts of other tests have no rows here."""
    client = await nats_client.connect(nats_url)
    consumers = (
        (subjects.TC_CALLS.name, subjects.PROJECTOR),
        (subjects.TC_JOBS.name, "answers-analysis"),
        (subjects.TC_JOBS.name, "answers-text_turn"),
        (subjects.TC_JOBS.name, "arrivals"),
    )
    try:
        stream = client.jetstream()
        for name, durable in consumers:
            with suppress(NotFoundError):
                await stream.purge_stream(name)
                await stream.delete_consumer(name, durable)
    finally:
        await client.close()


@pytest.fixture(scope="session")
def a_rest_face() -> Callable[[], AbstractAsyncContextManager[RestFace]]:
    """Starts a carrier's REST for a module of its own."""
    return _rest_face


@pytest.fixture(scope="session")
def another_sender() -> Callable[[Desk], AbstractAsyncContextManager[None]]:
    """Starts a second sender of webhooks over a desk's database, as another replica would have one."""

    @asynccontextmanager
    async def started(desk: Desk) -> AsyncIterator[None]:
        plane = msgspec.structs.replace(desk.plane, metrics=new_registry("control", "second"))
        async with send_events(plane):
            yield

    return started
