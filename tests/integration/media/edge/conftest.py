"""Workers on a real bus, with a carrier and a control plane that do as the test says."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from turncall_bus.bus import Away
from turncall_bus.nats import NatsBus
from turncall_bus.nats import connect as connect_bus
from turncall_media.app import Worker
from turncall_media.config import MediaConfig
from turncall_proto import ids, stream_token
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallStart
from turncall_proto.codec import decode, decode_event, encode
from turncall_proto.command import ActReply, HangUpAsked
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId, WorkerId
from turncall_proto.placement import CallOffer, OfferReply, WorkerBeat
from turncall_proto.subjects import STREAMS, act, call, offer
from turncall_runtime import seal
from turncall_runtime.config import load
from turncall_runtime.lifecycle import Life
from turncall_testkit.stack import Stack

SCRIPT = Path(__file__).with_name("quiet_worker.py")
STREAM_KEYS = "k1:a-secret-of-the-tests"
CARRIER_CALL = "CA" + "1" * 32


def quiet_build() -> Callable[..., object]:
    """The conversation of `quiet_worker.py`."""
    spec = spec_from_file_location("quiet_worker", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build


class Carrier:
    """Opens media sockets as a carrier does, with tokens as control mints them."""

    keys = stream_token.parse_keys(STREAM_KEYS)

    def path(self, plan: CallStart, *, age_s: float = 0) -> str:
        token = stream_token.mint(self.keys, plan.call_id, plan.epoch, time.time() - age_s)
        return f"/media/{plan.call_id}/{plan.epoch}/{token}"

    @asynccontextmanager
    async def socket(self, port: int, path: str) -> AsyncIterator[ClientConnection]:
        async with connect(f"ws://127.0.0.1:{port}{path}", compression=None, close_timeout=1) as connection:
            yield connection

    @asynccontextmanager
    async def stream(self, port: int, plan: CallStart) -> AsyncIterator[ClientConnection]:
        """A socket that has said ``connected`` and ``start``."""
        async with self.socket(port, self.path(plan)) as connection:
            await connection.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
            await connection.send(self.start(plan))
            yield connection

    @staticmethod
    def start(plan: CallStart) -> str:
        body = {
            "accountSid": "AC1",
            "callSid": plan.provider_call_id,
            "streamSid": "MZ1",
            "tracks": ["inbound"],
            "customParameters": {},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": body})

    @staticmethod
    async def hang_up(connection: ClientConnection) -> None:
        await connection.send('{"event":"stop","sequenceNumber":"2","streamSid":"MZ1","stop":{}}')
        await connection.close()

    @staticmethod
    async def closed_with(connection: ClientConnection, within_s: float = 20.0) -> int | None:
        async with asyncio.timeout(within_s):
            await connection.wait_closed()
        return connection.close_code


class Control:
    """The other plane, as far as a worker can tell."""

    def __init__(self, bus: NatsBus) -> None:
        self.bus = bus
        self.hang_ups: list[HangUpAsked] = []
        self.asked_to_hang_up = asyncio.Event()

    async def offer(self, worker: WorkerId, plan: CallStart) -> str:
        asked = CallOffer(plan=plan, deadline=datetime.now(UTC) + timedelta(seconds=2))
        return decode(await self.bus.ask(offer(worker), encode(asked), timeout_s=2), OfferReply).answer

    async def publish(self, plan: CallStart) -> None:
        subject = call(plan.project_id, plan.call_id, "start")
        await self.bus.publish(subject, encode(plan), message_id=f"{plan.call_id}.{plan.epoch}.start")

    async def facts(self, plan: CallStart, at_least: int, within_s: float = 20.0) -> list:
        """The facts of a call on the stream, once there are so many."""
        async with asyncio.timeout(within_s):
            while True:
                with suppress(Away):
                    stored = await self.bus.story(call(plan.project_id, plan.call_id, "event"))
                    if len(stored) >= at_least:
                        return [decode_event(fact.data) for fact in stored]
                await asyncio.sleep(0.02)

    async def beat(self, tells: Callable[[WorkerBeat], bool], within_s: float = 20.0) -> WorkerBeat:
        """The next beat of which ``tells`` is true."""
        found: asyncio.Future[WorkerBeat] = asyncio.get_running_loop().create_future()

        async def hear(_: str, data: bytes) -> None:
            beat = decode(data, WorkerBeat)
            if tells(beat) and not found.done():
                found.set_result(beat)

        hearing = await self.bus.hear("tc.v1.beat.calls.*", hear)
        try:
            async with asyncio.timeout(within_s):
                return await found
        finally:
            await hearing.close()


@pytest.fixture
def carrier() -> Carrier:
    return Carrier()


@asynccontextmanager
async def _control_of(nats_url: str) -> AsyncIterator[Control]:
    bus = await connect_bus(nats_url, name="control of a test")
    try:
        await bus.prepare(STREAMS)
        made = Control(bus)

        async def hang_up(data: bytes) -> bytes:
            made.hang_ups.append(decode(data, HangUpAsked))
            made.asked_to_hang_up.set()
            return encode(ActReply(is_taken=True))

        await bus.serve(act("hang_up"), hang_up)
        yield made
    finally:
        await bus.close()


@pytest.fixture
def control_of() -> Callable[[str], AbstractAsyncContextManager[Control]]:
    """``async with control_of(nats_url) as control``: a control plane that takes every hang-up on."""
    return _control_of


@pytest_asyncio.fixture(loop_scope="session")
async def control(stack: Stack) -> AsyncIterator[Control]:
    """The control plane on the shared bus."""
    async with _control_of(stack.urls.nats_url) as made:
        yield made


@pytest.fixture
def a_plan() -> Callable[..., CallStart]:
    """Makes plans of new calls; keywords replace fields."""

    def make(**fields: object) -> CallStart:
        vendor = VendorRef(vendor="nobody")
        whole = {
            "call_id": CallId(ids.mint(ids.CALL)),
            "project_id": ProjectId(ids.mint(ids.PROJECT)),
            "epoch": 1,
            "agent_id": AgentId(ids.mint(ids.AGENT)),
            "version_id": VersionId(ids.mint(ids.VERSION)),
            "agent": AgentSpec(pipeline=Cascade(stt=vendor, llm=vendor, tts=vendor)),
            "channel": "phone",
            "direction": "inbound",
            "from_number": "+15550100",
            "to_number": "+15550199",
            "provider": "twilio",
            "provider_call_id": CARRIER_CALL,
            "planned_at": datetime.now(UTC),
        }
        return CallStart(**whole | fields)

    return make


@pytest.fixture
def environment(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """What a worker needs to know."""
    return {
        "TURNCALL_ENV": "development",
        "TURNCALL_NATS_URL": stack.urls.nats_url,
        "TURNCALL_BLOBS_URL": f"file://{tmp_path}/blobs",
        "TURNCALL_STREAM_KEYS": STREAM_KEYS,
        "TURNCALL_MEDIA_PORT": "0",
        "TURNCALL_MEDIA_URL": "ws://127.0.0.1:1",
        "TURNCALL_SLOTS": "2",
        "TURNCALL_MAX_LAG_MS": "10000",  # a machine that runs tests is busy with other things
        "TURNCALL_MAX_CPU_SHARE": "64",
        "TURNCALL_SPOOL_DIR": f"{tmp_path}/spool",
        "TURNCALL_SEAL_PRIVATE_KEYS": seal.new_keypair().private_key.reveal(),
    }


@pytest.fixture
def a_worker(environment: dict[str, str], control: Control):
    """``async with a_worker(slots=1) as worker``: a worker of this process, started; keywords are its environment."""

    @asynccontextmanager
    async def make(**settings: object) -> AsyncIterator[Worker]:
        told = environment | {f"TURNCALL_{name.upper()}": str(value) for name, value in settings.items()}
        worker = Worker(load(MediaConfig, told), Life(), quiet_build(), lambda plan: None, None)
        async with AsyncExitStack() as opened:
            await worker.start(opened)
            yield worker

    return make


class Child:
    """A worker in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self._process = process
        self.port = port
        self.log = log

    def page(self, path: str) -> int:
        """The status of a page; 0 when nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status
        except HTTPError as error:
            with closing(error):
                return error.code
        except URLError:
            return 0

    async def until_ready(self, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while await asyncio.to_thread(self.page, "/ready") != 200:
                assert self._process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.05)

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self, within_s: float) -> int:
        async with asyncio.timeout(within_s):
            return await self._process.wait()


@pytest.fixture
def a_process(environment: dict[str, str], control: Control, tmp_path: Path):
    """``async with a_process(drain_s=1) as child``: a worker process that is ready; killed at the end if need be."""

    @asynccontextmanager
    async def make(**settings: object) -> AsyncIterator[Child]:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        told = {name: value for name, value in os.environ.items() if not name.startswith("TURNCALL_")} | environment
        told |= {f"TURNCALL_{name.upper()}": str(value) for name, value in settings.items()}
        log = tmp_path / "worker.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(SCRIPT), env=told | {"TURNCALL_MEDIA_PORT": str(port)}, stderr=output
            )
        child = Child(process, port, log)
        try:
            await child.until_ready()
            yield child
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return make
