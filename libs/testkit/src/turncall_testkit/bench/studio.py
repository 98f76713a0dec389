"""A whole installation with one media worker, and simulated vendors of fixed timing behind their own protocols."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget
from turncall.installation import Carrier as CarrierAccount
from turncall.installation import Installation
from turncall.process import Process
from turncall_devstack.stack import DevStack
from turncall_phone.accounts import Account
from turncall_phone.calls import Call
from turncall_phone.carrier import Carrier
from turncall_proto.agent import AgentSpec, Cascade, TurnTaking, VendorRef
from turncall_testkit.vendors import DeepgramFake, Manners, OpenAIFake, Reply
from turncall_testkit.vendors.deepgram import deepgram_fake
from turncall_testkit.vendors.openai import openai_fake

ACCOUNT: Final = Account(
    sid="AC" + "d" * 32, auth_token="a-token-of-the-benches", numbers=("+15550144000", "+15550144001", "+15550144002")
)
CALLER: Final = "+15550191000"
SLOTS: Final = 400
STOP_WINDOW_MS: Final = 500
MODEL_MS: Final = 100
VOICE_MS: Final = 50
SIMULATED_MS: Final = MODEL_MS + VOICE_MS
"""What vendors take of each reply. The transcript is there before the stop window ends."""
REPLY_S: Final = 2.0
CORES: Final = frozenset(os.sched_getaffinity(0))
"""The first one is the worker's."""
LINE_NOISE: Final = 200
"""Peak of a sample, of 32767, up to which a caller is silent."""


class Vendors(Struct, frozen=True, kw_only=True):
    """Where the simulated vendors listen."""

    stt: DeepgramFake
    llm: OpenAIFake
    tts: DeepgramFake


class Studio(Struct, frozen=True, kw_only=True):
    """One installation: the number `number` reaches an agent on `worker`, over the emulator's wire."""

    servers: DevStack
    installation: Installation
    carrier: Carrier
    vendors: Vendors

    @property
    def worker(self) -> Process:
        """The one media worker."""
        return self.installation.workers[0]

    @property
    def pids(self) -> dict[str, int]:
        """The processes whose time a figure is made of, children included."""
        servers = {"Postgres": self.servers.postgres.pid, "NATS": self.servers.nats.pid}
        ours = {"worker": self.worker.pid, "control": self.installation.controls[0].pid}
        return {**ours, **{name: pid for name, pid in servers.items() if pid is not None}}

    async def dial(self, line: int = 0) -> Call:
        """A caller to our number, or another ``line`` of the account; returns while it rings."""
        return await self.carrier.dial(to=ACCOUNT.numbers[line], from_=CALLER, script=())


def agent(vendors: Vendors) -> AgentSpec:
    """A cascade of the simulated vendors with everything on that a production has on."""
    return AgentSpec(
        pipeline=Cascade(
            stt=VendorRef(vendor="deepgram", options=vendors.stt.options("stt") | {"timeout_ms": 5_000}),
            llm=VendorRef(vendor="openai", options=vendors.llm.options("llm") | {"timeout_ms": 5_000}),
            tts=VendorRef(vendor="deepgram", options=vendors.tts.options("tts") | {"timeout_ms": 5_000}),
        ),
        first_message="Hello there.",
        turn_taking=TurnTaking(silence_timeout_ms=STOP_WINDOW_MS),
        recording="on",
    )


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    """Everything running in an empty folder: the worker alone on the first core, all else on the others."""
    with _beside_the_worker():
        async with (
            DevStack(folder / "stack") as servers,
            Carrier([ACCOUNT]) as carrier,
            deepgram_fake(floor=LINE_NOISE) as stt,
            openai_fake(replies=(Reply(text="Of course, for when?"),)) as llm,
            deepgram_fake(speech_s=REPLY_S) as tts,
        ):
            llm.manners = Manners(first_byte_after_s=MODEL_MS / 1000)
            tts.manners = Manners(first_byte_after_s=VOICE_MS / 1000)
            account = CarrierAccount(base_url=carrier.base_url, account_sid=ACCOUNT.sid, auth_token=ACCOUNT.auth_token)
            extra = {"TURNCALL_MAX_CPU_SHARE": "64"}  # how much it bears is to be measured
            async with Installation(
                folder, servers.urls, servers.keys, account, slots=SLOTS, extra=extra
            ) as installation:
                vendors = Vendors(stt=stt, llm=llm, tts=tts)
                async with TurnCall(installation.control_url, platform_key=servers.keys.platform_key) as operator:
                    project = await operator.create_project("Studio")
                    key = (await operator.create_first_key(project.id, "bench", "admin")).secret
                async with TurnCall(installation.control_url, key=key) as api:
                    made = await api.create_agent("Bench", agent(vendors))
                    await api.publish_agent(made.id)
                    await api.bind_number(ACCOUNT.numbers[0], AgentTarget(agent_id=made.id))
                pin(installation.workers[0].pid, {min(CORES)})
                yield Studio(servers=servers, installation=installation, carrier=carrier, vendors=vendors)


def pin(pid: int, cores: set[int]) -> None:
    """Has a process run on these cores only, with all threads that it has."""
    for thread in (Path("/proc") / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def _beside_the_worker() -> Iterator[None]:
    """This process, and what it starts, keeps off the first core; a machine with one core has no other."""
    pin(os.getpid(), set(CORES - {min(CORES)} or CORES))
    try:
        yield
    finally:
        pin(os.getpid(), set(CORES))
