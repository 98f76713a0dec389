"""From the plan of a call to its conversation."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from msgspec import ValidationError, convert
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService

from turncall_blobs.keys import recording_part
from turncall_egress import EgressClient, Wall
from turncall_media import registry
from turncall_media.errors import VendorUnusable
from turncall_media.kinds import BuildContext, Capabilities, Kind, VendorModule
from turncall_media.pipelines import toolbox
from turncall_media.pipelines.cascade import Vendors, build_worker
from turncall_media.pipelines.conversation import Conversation, Parts
from turncall_media.pipelines.ending import Ending
from turncall_media.pipelines.faults import Faults
from turncall_media.pipelines.listening import CallerInput
from turncall_media.pipelines.openings import go_on
from turncall_media.pipelines.speaking import AgentOutput
from turncall_media.pipelines.speech import Speech
from turncall_media.pipelines.story import UNKNOWN, Continuation, continuation
from turncall_media.report.events import Narrator, Stage, Usage
from turncall_media.report.recorder import Recorder
from turncall_media.seams import Past, Reporter, Resources
from turncall_media.sound import RATE_HZ
from turncall_media.tools.shape import CallReach
from turncall_media.turns import policy, silero
from turncall_media.turns.voice import VoiceDetector
from turncall_media.wire.twilio import TwilioWire
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.call import CallStart

_LEAST_S: Final = 1.0
"""For a call that has outlasted its time while nobody served it."""


def build_conversation(
    plan: CallStart, wire: TwilioWire, reporter: Reporter, resources: Resources, past: Past | None
) -> Conversation:
    """The conversation that ``plan`` asks for, or what is left of it after ``past``.

    Raises `MediaError` when a vendor, an option or a secret is unusable.
    """
    agent = plan.agent
    vendors = _vendors(plan, resources)
    narrator = Narrator(
        reporter,
        (plan.call_id, plan.epoch),
        _usage(agent.pipeline, vendors),
        asyncio.get_running_loop().time,
        wire.opened_at_s,
    )
    ending, speech, faults = Ending(), Speech(), Faults()
    recorder = _recorder(plan, resources) if agent.recording == "on" else None
    output = AgentOutput(wire, recorder, narrator, ending.stream_ended)
    voice = VoiceDetector(policy.voice_settings(agent.turn_taking), silero.Ear(silero.load()))
    caller = CallerInput(wire, voice, recorder, narrator, output.mark_returned, ending.stream_ended)
    egress = EgressClient(Wall(resources.egress_allow))
    reach = CallReach(
        call_id=plan.call_id,
        speech_heard=speech.heard,
        end=ending.because,
        egress=egress,
        signing_secrets=_signing_secrets(plan, resources),
    )
    story = _story(agent, past)
    narrator.turn = story.turn
    prompt = [{"role": "system", "content": agent.prompt}] if agent.prompt else []
    messages: list[Any] = [*prompt, *story.messages]
    context = LLMContext(messages=messages, tools=toolbox.schemas(agent.tools))
    if isinstance(vendors.llm, LLMService):
        toolbox.register(agent.tools, vendors.llm, reach, narrator)
    worker = build_worker(caller, output, vendors, agent.turn_taking, context, narrator, speech, faults)

    async def opening() -> None:
        if plan.resume is not None:
            narrator.resumed(plan.resume, resources.worker, resources.now())
        await go_on(story, agent, speech, worker, vendors.llm, context, narrator)

    return Conversation(
        Parts(
            agent=agent,
            opening=opening,
            lasts_s=_lasts_s(agent, story, resources.now()),
            worker=worker,
            stages=vendors.stages(),
            ending=ending,
            narrator=narrator,
            speech=speech,
            faults=faults,
            recorder=recorder,
            egress=egress,
        )
    )


def _story(agent: AgentSpec, past: Past | None) -> Continuation:
    if past is None:
        return Continuation(greet=True)
    return continuation(past.facts, toolbox.end_replies(agent.tools)) if past.is_known else UNKNOWN


def _lasts_s(agent: AgentSpec, story: Continuation, now: datetime) -> float:
    """How long the call may still last; another worker may have served it before."""
    passed_s = 0.0 if story.answered_at is None else (now - story.answered_at).total_seconds()
    return max(_LEAST_S, agent.max_duration_s - max(0.0, passed_s))


def _vendors(plan: CallStart, resources: Resources) -> Vendors:
    pipeline = plan.agent.pipeline
    module = registry.load("llm", pipeline.llm.vendor)
    expects = getattr(module, "expects", None)
    phrases = tuple(expects(_options(module, "llm", pipeline.llm))) if expects is not None else ()

    def built(kind: Kind, ref: VendorRef) -> FrameProcessor:
        module = registry.load(kind, ref.vendor)
        context = BuildContext(
            rate_hz=RATE_HZ,
            language=plan.agent.language,
            secret=key_for(ref, module.CAPABILITIES, plan.secrets, resources.open_secret),
            expected_phrases=phrases,
            egress_allow=resources.egress_allow,
        )
        return module.build(_options(module, kind, ref), context)

    return Vendors(stt=built("stt", pipeline.stt), llm=built("llm", pipeline.llm), tts=built("tts", pipeline.tts))


def key_for(
    ref: VendorRef, capabilities: Capabilities, secrets: Mapping[str, str], open_secret: Callable[[str], str]
) -> str | None:
    """The installation's key for this stage; None without one, and when the agent names a server of its own.

    Who owns that server would learn the key, and any developer of any project may name one.
    """
    if any(ref.options.get(name) for name in capabilities.secret_optional_with) or ref.vendor not in secrets:
        return None
    return open_secret(secrets[ref.vendor])


def _options(module: VendorModule, kind: Kind, ref: VendorRef) -> Any:
    try:
        return convert(ref.options, module.Options)
    except ValidationError as error:
        raise VendorUnusable(f"{ref.vendor} refuses its options as {kind}: {error}") from error


def _usage(pipeline: Cascade, vendors: Vendors) -> dict[Stage, Usage]:
    return {
        "stt": Usage(pipeline.stt.vendor, _model(vendors.stt)),
        "llm": Usage(pipeline.llm.vendor, _model(vendors.llm)),
        "tts": Usage(pipeline.tts.vendor, _model(vendors.tts)),
    }


def _model(service: FrameProcessor) -> str:
    model = getattr(getattr(service, "settings", None), "model", None)
    return model if isinstance(model, str) else ""


def _recorder(plan: CallStart, resources: Resources) -> Recorder:
    key = partial(recording_part, plan.project_id, plan.call_id, plan.epoch)
    return Recorder(key, resources.blobs, resources.recordings_spool)


def _signing_secrets(plan: CallStart, resources: Resources) -> tuple[str, ...]:
    return () if plan.signing_secret is None else (resources.open_secret(plan.signing_secret),)
