"""A worker's edge without a network: a bus in memory, a scripted socket, a conversation that does what it is told."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from turncall_blobs import MemoryStore
from turncall_bus.memory import MemoryBus
from turncall_media.circuits import Circuits
from turncall_media.counters import Counters
from turncall_media.report.live import LiveFeed
from turncall_media.seams import Outcome, SocketClosed
from turncall_media.session import CallSession, Station
from turncall_media.wire.twilio import TwilioWire
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.command import AnyCommand, CommandReply, EndCall
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId, WorkerId
from turncall_proto.subjects import STREAMS, call

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALL = CallId("call_" + "c" * 32)
CARRIER_CALL = "CA" + "1" * 32
HUNG_UP = Outcome(state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL)

CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'


def start_message(call_sid: str = CARRIER_CALL) -> str:
    start = {
        "accountSid": "AC1",
        "callSid": call_sid,
        "streamSid": "MZ1",
        "tracks": ["inbound"],
        "customParameters": {},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": start})


@pytest.fixture
def a_plan() -> Callable[..., CallStart]:
    """Makes plans; keywords replace fields."""

    def make(**fields: object) -> CallStart:
        vendor = VendorRef(vendor="nobody")
        whole = {
            "call_id": CALL,
            "project_id": ProjectId("prj_" + "a" * 32),
            "epoch": 1,
            "agent_id": AgentId("agt_" + "a" * 32),
            "version_id": VersionId("ver_" + "a" * 32),
            "agent": AgentSpec(pipeline=Cascade(stt=vendor, llm=vendor, tts=vendor)),
            "channel": "phone",
            "direction": "inbound",
            "from_number": "+15550100",
            "to_number": "+15550199",
            "provider": "twilio",
            "provider_call_id": CARRIER_CALL,
            "planned_at": NOON,
        }
        return CallStart(**whole | fields)

    return make


class ScriptedSocket:
    """A `MediaSocket` whose peer says what the test hands to `says`."""

    def __init__(self, *frames: str) -> None:
        self._inbox: asyncio.Queue[str | SocketClosed] = asyncio.Queue()
        self.closed_with: int | None = None
        for frame in frames:
            self._inbox.put_nowait(frame)

    def says(self, frame: str | SocketClosed) -> None:
        self._inbox.put_nowait(frame)

    async def receive(self) -> str:
        frame = await self._inbox.get()
        if isinstance(frame, SocketClosed):
            self._inbox.put_nowait(frame)
            raise frame
        return frame

    async def send(self, text: str) -> None:
        raise AssertionError("the edge itself says nothing to a carrier")

    async def close(self, code: int, reason: str) -> None:
        if self.closed_with is None:
            self.closed_with = code
            self._inbox.put_nowait(SocketClosed(code))


class Talk:
    """A conversation that lasts until the test or somebody's `end` gives it an outcome."""

    def __init__(self, reporter, resources, past) -> None:
        self.past = past
        self.reporter = reporter
        self.resources = resources
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.obeyed: list[AnyCommand] = []
        self.was_cancelled = False
        self.handed_over: list[bool] = []
        self.is_finishing = False
        self.recording = asyncio.Event()
        self.recording.set()

    async def run(self) -> Outcome:
        try:
            return await self.outcome
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    async def finish(self) -> None:
        self.is_finishing = True
        await self.recording.wait()

    def hand_over(self, *, at_once: bool) -> None:
        self.handed_over.append(at_once)
        if at_once and not self.outcome.done():
            self.outcome.set_result(Outcome(state=None, reason=None))

    async def obey(self, command: AnyCommand) -> CommandReply:
        self.obeyed.append(command)
        if isinstance(command, EndCall) and not self.outcome.done():
            self.outcome.set_result(Outcome(state=CallState.COMPLETED, reason=command.reason))
        return CommandReply(outcome="done")


class Edge:
    """Everything around sessions: what they spooled, the talks they built, and time."""

    def __init__(self) -> None:
        self.bus = MemoryBus(clock=asyncio.get_running_loop().time)
        self.registry = CollectorRegistry()
        self.spooled = []
        self.talks: list[Talk] = []
        self.build_fails_with: Exception | None = None
        self.station = self.station_of("wrk_" + "1" * 32)

    def station_of(self, worker: str, build=None) -> Station:
        counters = Counters(CollectorRegistry()) if hasattr(self, "station") else Counters(self.registry)
        return Station(
            worker=WorkerId(worker),
            bus=self.bus,
            append=self.spooled.append,
            feed=LiveFeed(self.bus, counters),
            build=build or self._build,
            open_secret=lambda sealed: sealed,
            blobs=MemoryStore(),
            egress_allow=(),
            recordings_spool=Path("/nonexistent"),
            mcp_programs={},
            models_dir="",
            circuits=Circuits(time.monotonic),
            owned=set(),
            now=self.now,
            counters=counters,
        )

    @staticmethod
    def now() -> datetime:
        return NOON + timedelta(seconds=asyncio.get_running_loop().time())

    async def _build(self, plan, wire, reporter, resources, past) -> Talk:
        if self.build_fails_with is not None:
            raise self.build_fails_with
        self.talks.append(Talk(reporter, resources, past))
        return self.talks[-1]

    async def open(self) -> "Edge":
        await self.bus.prepare(STREAMS)
        return self

    def session(self, socket, plan: CallStart | None, epoch: int = 1, station: Station | None = None) -> CallSession:
        return CallSession(TwilioWire(socket), CALL, epoch, plan, station or self.station)

    async def publish_plan(self, plan: CallStart) -> None:
        from turncall_proto.codec import encode

        await self.bus.publish(
            call(plan.project_id, plan.call_id, "start"), encode(plan), message_id=f"start.{plan.epoch}"
        )

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"turncall_media_{name}_total", labels) or 0.0


@pytest.fixture
def edge() -> Callable[[], "asyncio.Future[Edge]"]:
    """``await edge()``, inside virtual time, gives a new `Edge`."""

    async def make() -> Edge:
        return await Edge().open()

    return make


@pytest.fixture
def a_socket() -> Callable[..., ScriptedSocket]:
    """A socket whose peer has said ``connected`` and ``start``, unless other frames are given."""

    def make(*frames: str) -> ScriptedSocket:
        return ScriptedSocket(*(frames or (CONNECTED, start_message())))

    return make
