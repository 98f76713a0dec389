"""A whole installation with one media worker, and simulated vendors of fixed timing behind their own protocols."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from turncall.capacity.rig import CALLER, Rig, rig
from turncall.process import Process
from turncall_phone.accounts import Account
from turncall_phone.calls import Call
from turncall_proto.agent import AgentSpec, Cascade, TurnTaking, VendorRef
from turncall_testkit.vendors import DeepgramFake, Manners, OpenAIFake, Reply
from turncall_testkit.vendors.deepgram import deepgram_fake
from turncall_testkit.vendors.openai import openai_fake

ACCOUNT: Final = Account(
    sid="AC" + "d" * 32, auth_token="a-token-of-the-benches", numbers=("+15550144000", "+15550144001", "+15550144002")
)
STOP_WINDOW_MS: Final = 500
PAUSE_MS: Final = 200
"""In place of it where a model hears who is done: after so much silence it is asked."""
MODEL_MS: Final = 100
VOICE_MS: Final = 50
SIMULATED_MS: Final = MODEL_MS + VOICE_MS
"""What vendors take of each reply. The transcript is there before the stop window ends."""
REPLY_S: Final = 2.0
LINE_NOISE: Final = 200
"""Peak of a sample, of 32767, up to which a caller is silent."""


class Vendors(Struct, frozen=True, kw_only=True):
    """Where the simulated vendors listen."""

    stt: DeepgramFake
    llm: OpenAIFake
    tts: DeepgramFake


class Studio(Struct, frozen=True, kw_only=True):
    """One installation, whose worker serves an agent of these vendors."""

    rig: Rig
    vendors: Vendors

    @property
    def worker(self) -> Process:
        """The one media worker."""
        return self.rig.installation.workers[0]

    @property
    def pids(self) -> dict[str, int]:
        """The processes whose time a figure is made of, children included."""
        servers = {"Postgres": self.rig.servers.postgres.pid, "NATS": self.rig.servers.nats.pid}
        ours = {"worker": self.worker.pid, "control": self.rig.installation.controls[0].pid}
        return {**ours, **{name: pid for name, pid in servers.items() if pid is not None}}

    async def dial(self, line: int = 0) -> Call:
        """A caller to our number, or another ``line`` of the account; returns while it rings."""
        return await self.rig.carrier.dial(to=ACCOUNT.numbers[line], from_=CALLER, script=())


def agent(vendors: Vendors, end_of_turn: Literal["silence", "smart"] = "silence") -> AgentSpec:
    """A cascade of the simulated vendors with everything on that a production has on."""
    return AgentSpec(
        pipeline=Cascade(
            stt=VendorRef(vendor="deepgram", options=vendors.stt.options("stt") | {"timeout_ms": 5_000}),
            llm=VendorRef(vendor="openai", options=vendors.llm.options("llm") | {"timeout_ms": 5_000}),
            tts=VendorRef(vendor="deepgram", options=vendors.tts.options("tts") | {"timeout_ms": 5_000}),
        ),
        first_message="Hello there.",
        turn_taking=TurnTaking(silence_timeout_ms=STOP_WINDOW_MS, end_of_turn=end_of_turn),
        recording="on",
    )


@asynccontextmanager
async def studio(folder: Path, end_of_turn: Literal["silence", "smart"] = "silence") -> AsyncIterator[Studio]:
    """Everything running in an empty folder: the worker alone on the first core, all else on the others."""
    async with (
        deepgram_fake(floor=LINE_NOISE) as stt,
        openai_fake(replies=(Reply(text="Of course, for when?"),)) as llm,
        deepgram_fake(speech_s=REPLY_S) as tts,
    ):
        llm.manners = Manners(first_byte_after_s=MODEL_MS / 1000)
        tts.manners = Manners(first_byte_after_s=VOICE_MS / 1000)
        vendors = Vendors(stt=stt, llm=llm, tts=tts)
        async with rig(folder, agent(vendors, end_of_turn), ACCOUNT) as running:
            yield Studio(rig=running, vendors=vendors)
