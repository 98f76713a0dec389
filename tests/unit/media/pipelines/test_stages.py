"""The vendor of each stage, and what it is told, are the agent's."""

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import Struct
from pipecat.processors.frame_processor import FrameProcessor

from turncall_blobs.memory import MemoryStore
from turncall_media import registry
from turncall_media.kinds import Capabilities
from turncall_media.pipelines.vendors import build_all
from turncall_media.seams import Resources
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallStart
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


@pytest.mark.proves(
    "agent.pipeline.cascade.stt.vendor",
    "agent.pipeline.cascade.stt.options",
    "agent.pipeline.cascade.llm.vendor",
    "agent.pipeline.cascade.llm.options",
    "agent.pipeline.cascade.tts.vendor",
    "agent.pipeline.cascade.tts.options",
)
async def test_each_stage_is_the_vendor_that_the_agent_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three vendors with three options are asked for, each in its own stage."""
    built: list[tuple[str, str, str]] = []

    def load(kind: str, vendor: str) -> Any:
        module: Any = ModuleType(vendor)
        module.CAPABILITIES = Capabilities(needs_secret=False)
        module.Options = Options

        def build(options: Options, context: object) -> FrameProcessor:
            built.append((kind, vendor, options.tone))
            return FrameProcessor()

        module.build = build
        return module

    monkeypatch.setattr(registry, "load", load)
    stages = {kind: VendorRef(vendor=f"{kind}_house", options={"tone": f"of {kind}"}) for kind in ("stt", "llm", "tts")}
    resources = Resources(
        worker=WorkerId(ids.mint(ids.WORKER)),
        now=lambda: datetime.now(UTC),
        open_secret=str,
        blobs=MemoryStore(),
        egress_allow=(),
        recordings_spool=Path("/nonexistent"),
    )
    made = build_all(a_plan(AgentSpec(pipeline=Cascade(**stages))), resources)
    assert made.refused == {}
    assert built == [(kind, f"{kind}_house", f"of {kind}") for kind in ("stt", "llm", "tts")]
