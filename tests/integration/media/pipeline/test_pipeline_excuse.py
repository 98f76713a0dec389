"""A vendor that cannot even be built."""

from typing import Any

import msgspec
import pytest

from turncall_media.errors import VendorUnusable
from turncall_media.pipelines.apologies import apology
from turncall_proto.agent import VendorRef
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import CallStarted, VendorFailed

REFUSED = VendorRef(vendor="scripted", options={"colour": "red"})


@pytest.mark.parametrize("stage_name", ["stt", "llm"])
def test_caller_hears_an_apology(stage: Any, stage_name: str) -> None:
    """The failure is stated with its stage and vendor, the caller hears why nobody answers, and the call ends."""
    agent = stage.an_agent("Welcome.")
    pipeline = msgspec.structs.replace(agent.pipeline, **{stage_name: REFUSED})

    async def act(scene: Any) -> None:
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.FAILED, EndedReason.VENDOR_ERROR)

    scene = stage.play(msgspec.structs.replace(agent, pipeline=pipeline), act)
    (failed,) = scene.facts.of(VendorFailed)
    assert (failed.kind, failed.vendor, failed.is_fatal) == (stage_name, "scripted", True)
    assert "colour" in failed.detail
    assert scene.transcript() == [("agent", apology("en"))]
    assert scene.facts.of(CallStarted) == [], "no agent was live"
    assert [reason for reason, _ in scene.hang_ups] == [EndedReason.VENDOR_ERROR]


def test_caller_who_hangs_up_on_the_apology(stage: Any) -> None:
    """Nothing is left running."""
    agent = stage.an_agent()
    pipeline = msgspec.structs.replace(agent.pipeline, llm=REFUSED)

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        scene.carrier.hang_up()
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.CUSTOMER_ENDED_CALL

    stage.play(msgspec.structs.replace(agent, pipeline=pipeline), act)


def test_call_without_a_voice_is_refused(stage: Any) -> None:
    """There is nothing to apologise with; every failure is stated."""
    agent = stage.an_agent()
    pipeline = msgspec.structs.replace(agent.pipeline, tts=REFUSED, stt=REFUSED)
    scenes: list[Any] = []

    async def perform(scene: Any) -> None:
        scene.carrier.hang_up()
        await scene.outcome()
        broken = stage.scene(msgspec.structs.replace(agent, pipeline=pipeline))
        scenes.append(broken)
        with pytest.raises(VendorUnusable, match="colour"):
            await broken.begin()
        broken.carrier.drop()

    stage.play(agent, perform)
    assert [failed.kind for failed in scenes[0].facts.of(VendorFailed)] == ["stt", "tts"]
