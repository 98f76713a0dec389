"""The vendor of each stage, and what it is told, are the agent's."""

import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import Struct
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor

from turncall_blobs.memory import MemoryStore
from turncall_media import registry
from turncall_media.audio.sound import TELEPHONE
from turncall_media.circuits import Circuits
from turncall_media.errors import VendorUnusable
from turncall_media.pipelines.vendors import build_all
from turncall_media.report.events import Narrator
from turncall_media.seams import Reporter, Resources
from turncall_media.stages.kinds import Capabilities
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade, Fallbacks, SpeechToSpeech, VendorRef
from turncall_proto.call import CallStart
from turncall_proto.command import ActReply, HandoffReply
from turncall_proto.events import CallEvent
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId, WorkerId


class Options(Struct, frozen=True, kw_only=True):
    """What a stage may be told."""

    tone: str


def a_plan(agent: AgentSpec) -> CallStart:
    return CallStart(
        call_id=CallId(ids.mint(ids.CALL)),
        project_id=ProjectId(ids.mint(ids.PROJECT)),
        epoch=1,
        agent_id=AgentId(ids.mint(ids.AGENT)),
        version_id=VersionId(ids.mint(ids.VERSION)),
        agent=agent,
        channel="phone",
        direction="inbound",
        from_number="",
        to_number="",
        provider="twilio",
        provider_call_id="CA1",
        planned_at=datetime.now(UTC),
    )


class Catalogue:
    """Vendors that note who was asked for what. Those whose tone is "broken" cannot be built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.built: list[tuple[str, str, str]] = []
        monkeypatch.setattr(registry, "load", self.load)

    def load(self, kind: str, vendor: str) -> Any:
        module: Any = ModuleType(vendor)
        module.CAPABILITIES = Capabilities(needs_secret=False)
        module.Options = Options

        def build(options: Options, context: object) -> FrameProcessor:
            if options.tone == "broken":
                raise VendorUnusable("broken")
            self.built.append((kind, vendor, options.tone))
            return FrameProcessor()

        module.build = build
        return module


class Silent(Reporter):
    """Nobody listens."""

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None: ...

    def whisper(self, message: Struct) -> None: ...


def narrator() -> Narrator:
    return Narrator(Silent(), (CallId(ids.mint(ids.CALL)), 1), time.monotonic, 0.0)


def resources() -> Resources:
    return Resources(
        worker=WorkerId(ids.mint(ids.WORKER)),
        now=lambda: datetime.now(UTC),
        open_secret=str,
        blobs=MemoryStore(),
        egress_allow=(),
        recordings_spool=Path("/nonexistent"),
        circuits=Circuits(time.monotonic),
        hand_off=nobody,
        transfer=no_person,
        send_link=no_phone,
        opt_out=no_person,
    )


async def no_phone(*_: object) -> None:
    """There is no phone."""


async def no_person(*_: object) -> ActReply:
    """There is no person."""
    return ActReply(is_taken=False)


async def nobody(*_: object) -> HandoffReply:
    """There is no other agent."""
    return HandoffReply(plan=None)


def houses(tone: str, name: str = "house") -> dict[str, VendorRef]:
    return {kind: VendorRef(vendor=f"{kind}_{name}", options={"tone": tone}) for kind in ("stt", "llm", "tts")}


@pytest.mark.proves(
    "agent.pipeline.cascade.stt.vendor",
    "agent.pipeline.cascade.stt.options",
    "agent.pipeline.cascade.llm.vendor",
    "agent.pipeline.cascade.llm.options",
    "agent.pipeline.cascade.tts.vendor",
    "agent.pipeline.cascade.tts.options",
)
async def test_each_stage_is_the_vendor_that_the_agent_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three vendors with their options are asked for, each in its own stage."""
    catalogue = Catalogue(monkeypatch)
    made = build_all(
        a_plan(AgentSpec(pipeline=Cascade(**houses("warm")))), TELEPHONE, resources(), narrator(), LLMContext()
    )
    assert made.refused == {}
    assert catalogue.built == [(kind, f"{kind}_house", "warm") for kind in ("stt", "llm", "tts")]


@pytest.mark.proves(
    "agent.pipeline.cascade.fallbacks.stt.vendor",
    "agent.pipeline.cascade.fallbacks.stt.options",
    "agent.pipeline.cascade.fallbacks.llm.vendor",
    "agent.pipeline.cascade.fallbacks.llm.options",
    "agent.pipeline.cascade.fallbacks.tts.vendor",
    "agent.pipeline.cascade.fallbacks.tts.options",
)
async def test_a_stage_falls_back_on_the_vendors_that_the_agent_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, with their own options, and nobody is built who is not needed."""
    catalogue = Catalogue(monkeypatch)
    names = [houses("broken", "second"), houses("warm", "third"), houses("cold", "fourth")]
    fallbacks = Fallbacks(**{kind: tuple(refs[kind] for refs in names) for kind in ("stt", "llm", "tts")})
    spoken = narrator()
    pipeline = Cascade(**houses("broken"), fallbacks=fallbacks)
    made = build_all(a_plan(AgentSpec(pipeline=pipeline)), TELEPHONE, resources(), spoken, LLMContext())
    assert made.refused == {}
    assert catalogue.built == [(kind, f"{kind}_third", "warm") for kind in ("stt", "llm", "tts")]
    assert {kind: usage.vendor for kind, usage in spoken.usage.items()} == {
        kind: f"{kind}_third" for kind in ("stt", "llm", "tts")
    }


def ref(name: str, tone: str) -> VendorRef:
    return VendorRef(vendor=name, options={"tone": tone})


@pytest.mark.proves(
    "agent.pipeline.speech.model.vendor",
    "agent.pipeline.speech.model.options",
    "agent.pipeline.speech.fallbacks.options",
    "agent.pipeline.speech.apology_voice.options",
)
@pytest.mark.parametrize(
    ("tones", "built", "refused"),
    [
        (("warm", "cold"), [("speech", "one", "warm")], set()),
        (("broken", "cold"), [("speech", "two", "cold")], set()),
        (("broken", "broken"), [("tts", "three", "soft")], {"speech"}),
    ],
)
async def test_one_model_serves_a_speech_pipeline(
    monkeypatch: pytest.MonkeyPatch, tones: tuple[str, str], built: list[Any], refused: set[str]
) -> None:
    """The model that the agent names, else its fallback; a voice is built only where there is no model at all."""
    catalogue = Catalogue(monkeypatch)
    pipeline = SpeechToSpeech(
        model=ref("one", tones[0]), fallbacks=(ref("two", tones[1]),), apology_voice=ref("three", "soft")
    )
    made = build_all(a_plan(AgentSpec(pipeline=pipeline)), TELEPHONE, resources(), narrator(), LLMContext())
    assert catalogue.built == built
    assert set(made.refused) == refused
