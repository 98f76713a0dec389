"""From the plan of a call to its conversation."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from msgspec import Struct, json
from msgspec.structs import replace
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor

from turncall_blobs.keys import recording_part
from turncall_egress import EgressClient, Wall
from turncall_media.audio.ambience import Ambience
from turncall_media.audio.noise import NoiseFilter
from turncall_media.errors import SecretUnusable, VendorUnusable
from turncall_media.pipelines import knowing, toolbox
from turncall_media.pipelines.answering import Answering, Gate, ModelGate
from turncall_media.pipelines.apologies import please_repeat
from turncall_media.pipelines.cascade import build_excuse, build_worker
from turncall_media.pipelines.consent import Consent
from turncall_media.pipelines.conversation import Conversation, Parts, Watch
from turncall_media.pipelines.duplex import build_duplex
from turncall_media.pipelines.ending import Ending
from turncall_media.pipelines.face import Face
from turncall_media.pipelines.faults import Faults
from turncall_media.pipelines.giving import Giving
from turncall_media.pipelines.keypad import Entry, Keys
from turncall_media.pipelines.kit import Kit
from turncall_media.pipelines.knowing import Recall
from turncall_media.pipelines.last_words import LastWords
from turncall_media.pipelines.listening import CallerInput
from turncall_media.pipelines.mocked import Mocks
from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.openings import after_consent, go_on
from turncall_media.pipelines.orders import Orders
from turncall_media.pipelines.rtvi import Rtvi
from turncall_media.pipelines.speaking import AgentOutput
from turncall_media.pipelines.speech import ModelSpeech, Speech
from turncall_media.pipelines.story import UNKNOWN, Continuation, continuation, unheard
from turncall_media.pipelines.succession import each_service, serving
from turncall_media.pipelines.vendors import Built, Vendors, build_all, build_avatar, build_voice, processors
from turncall_media.pipelines.watches import ask_when_idle, warn_of_the_end
from turncall_media.report.events import Narrator, Stage
from turncall_media.report.recorder import Recorder
from turncall_media.report.switch import RecordingSwitch
from turncall_media.seams import Past, Reporter, Resources
from turncall_media.tools.shape import CallReach, function
from turncall_media.toolservers.doors import Door, door
from turncall_media.toolservers.servers import ToolServers
from turncall_media.turns import policy, silero
from turncall_media.turns.answered import Judge
from turncall_media.turns.interruption import Protection, lifted
from turncall_media.turns.smart import Words
from turncall_media.turns.voice import VoiceDetector
from turncall_media.wire.stream import Wire
from turncall_proto.agent import AgentSpec, Cascade, KnowledgeAuto, SpeechToSpeech
from turncall_proto.call import CallStart
from turncall_proto.events import TranscriptFinal, VoicemailDetected
from turncall_proto.mcp import McpServer
from turncall_proto.template import rendered
from turncall_runtime import logs

_LEAST_S: Final = 1.0
"""For a call that has outlasted its time while nobody served it."""
EXCUSE_WITHIN_S: Final = 30.0
_log = logs.logger(__name__)


def build_conversation(
    plan: CallStart, wire: Wire, reporter: Reporter, resources: Resources, past: Past | None
) -> Conversation:
    """The conversation that ``plan`` asks for, or what is left of it after ``past``.

    When a vendor, its options or its key are unusable, that is stated, and the conversation is an apology. Raises
    `MediaError` when there is no voice for it, and when the key for the user's own servers cannot be opened.
    """
    page = Rtvi(wire.page, reporter, plan.call_id) if wire.page is not None else None
    texts = rendered(plan)
    plan = replace(plan, agent=texts.agent)
    narrator = Narrator(
        page or reporter,
        (plan.call_id, plan.epoch),
        asyncio.get_running_loop().time,
        wire.opened_at_s,
    )
    story = _story(plan, past, resources.now())
    context = _context(plan.agent, story)
    built = build_all(plan, wire.sound, resources, narrator, context)
    if texts.missing and plan.resume is None:
        narrator.variables_missing(texts.missing)
    ends = _ends(plan, wire, narrator, resources, page)
    if not built.refused:
        answering = _answering(plan, ends, past)
        return _conversation(plan, wire, ends, built, resources, story, context, answering, page)
    for stage, why in built.refused.items():
        _log.error("vendor.refused", stage=stage, vendor=narrator.usage[stage].vendor, why=why)
        narrator.vendor_failed(stage, why, is_fatal=True)
    if "tts" in built.refused:
        raise VendorUnusable(built.refused["tts"])
    return _excuse(plan, ends, built)


class _Ends(Struct, frozen=True, kw_only=True):
    """What every conversation has: its two ends, and what hangs on them."""

    caller: CallerInput
    words: Words | None
    output: AgentOutput
    narrator: Narrator
    recorder: Recorder | None
    ending: Ending
    mute: Mute
    recording: RecordingSwitch
    speech: Speech
    faults: Faults
    egress: EgressClient
    entry: Entry


def _ends(plan: CallStart, wire: Wire, narrator: Narrator, resources: Resources, page: Rtvi | None) -> _Ends:
    ending = Ending()
    overhears = page.overhear if page is not None else None
    recorder = _recorder(plan, wire, resources) if plan.agent.recording != "off" else None
    room = plan.agent.background
    ambience = Ambience(room.sound, room.volume, wire.sound) if room is not None else None
    faults = Faults()
    output = AgentOutput(wire, recorder, narrator, ending.stream_ended, faults, ambience)
    voice = VoiceDetector(
        policy.voice_settings(plan.agent.turn_taking), silero.Ear(silero.load(), wire.sound), wire.sound
    )
    words = policy.words(plan.agent.turn_taking, wire.sound)
    mute = Mute()
    return _Ends(
        caller=CallerInput(
            wire,
            voice,
            recorder,
            narrator,
            output.mark_returned,
            ending.stream_ended,
            is_midway=plan.epoch > 1,
            words=words,
            noise=NoiseFilter(wire.sound) if plan.agent.noise_filter else None,
        ),
        words=words,
        output=output,
        narrator=narrator,
        recorder=recorder,
        ending=ending,
        mute=mute,
        recording=RecordingSwitch(recorder, narrator, narrator.now_ms),
        speech=(Speech if isinstance(plan.agent.pipeline, Cascade) else ModelSpeech)(mute, overhears),
        faults=faults,
        egress=EgressClient(Wall(resources.egress_allow)),
        entry=Entry(),
    )


def _conversation(
    plan: CallStart,
    wire: Wire,
    ends: _Ends,
    built: Built,
    resources: Resources,
    story: Continuation,
    context: LLMContext,
    answering: Answering | None,
    page: Rtvi | None,
) -> Conversation:
    agent, narrator, speech = plan.agent, ends.narrator, ends.speech
    ends.mute.is_on = story.is_muted
    consent = Consent(agent, ends.recording, narrator)
    if agent.recording == "on" or story.has_consented:
        ends.recording.begin(is_paused=story.is_recording_paused)
    narrator.turn, narrator.keys_s = story.turn, agent.keypad.timeout_ms / 1000
    narrator.are_keys_masked = agent.keypad.masked
    giving = Giving(resources.hand_off, resources.transfer, ends.ending, narrator)
    kit = _kit(plan, ends, resources, story, context, giving)
    each_service(built.mind, kit.equip)
    protection = _protection(agent, story)
    recall = _recall(agent, resources, narrator, context)
    face = _face(plan, wire, narrator, resources)
    worker = _worker(plan, ends, built, resources, context, protection, kit, consent, answering, recall, face)

    async def opening() -> None:
        narrator.started()
        if plan.resume is not None:
            narrator.resumed(plan.resume, resources.worker, resources.now())
        if answering is not None:
            if not await answering.is_person(is_greeted=story.greet and bool(agent.first_message)):
                return
            if answering.hello:
                context.add_message({"role": "user", "content": answering.hello})
                narrator.caller_said(answering.hello)
        first = story
        if agent.recording == "on_consent" and story.has_consented is None:
            with lifted(protection):
                first = after_consent(story, await consent.ask(speech))
        if story.repeat_tools:
            await kit.complete()
        llm = serving(built.mind)
        await go_on(first, agent, speech, worker, llm, context, narrator, lambda: ends.caller.is_cut_off)
        if protection is not None:
            await speech.heard()
            protection.is_lifted = True

    lasts_s = _lasts_s(agent, story, resources.now())
    watches: tuple[Watch, ...] = (
        partial(ask_when_idle, agent, story.messages, speech, narrator, ends.ending.because),
        partial(warn_of_the_end, agent, story.messages, lasts_s, speech, narrator),
    )
    if answering is not None:
        watches = (*watches, answering.watch)
    orders = Orders(
        worker=worker,
        context=context,
        speech=speech,
        mute=ends.mute,
        narrator=narrator,
        ending=ends.ending,
        giving=giving,
        recording=ends.recording,
    )
    if page is not None:
        page.follow(worker, ends.ending.because)
        watches = (*watches, partial(page.attend, orders))
    parts = _parts(agent, ends, worker, built.stages(), lasts_s)
    return Conversation(replace(parts, kit=kit, orders=orders, giving=giving, watches=watches), opening)


def _worker(
    plan: CallStart,
    ends: _Ends,
    built: Built,
    resources: Resources,
    context: LLMContext,
    protection: Protection | None,
    kit: Kit,
    consent: Consent,
    answering: Answering | None,
    recall: Recall | None,
    face: Face | None,
) -> PipelineWorker:
    agent = plan.agent
    match agent.pipeline:
        case Cascade():
            return build_worker(
                ends.caller,
                ends.output,
                Vendors(**built.services),
                policy.user_params(agent.turn_taking, protection, ends.words),
                context,
                ends.narrator,
                ends.speech,
                ends.faults,
                Keys(agent.keypad, ends.entry),
                agent.pronunciations,
                ends.mute,
                kit,
                consent,
                answering,
                recall,
                face,
            )
        case SpeechToSpeech() as pipeline:
            assert isinstance(ends.speech, ModelSpeech)
            return build_duplex(
                ends.caller,
                ends.output,
                built.mind,
                LastWords(partial(build_voice, pipeline.apology_voice, plan, ends.caller.sound, resources)),
                policy.user_params(agent.turn_taking, protection, ends.words, waits_for_words=False),
                context,
                ends.narrator,
                ends.speech,
                ends.faults,
                Keys(agent.keypad, ends.entry),
                ends.mute,
                kit,
                consent,
                answering,
                recall,
            )


def _face(plan: CallStart, wire: Wire, narrator: Narrator, resources: Resources) -> Face | None:
    """The agent's avatar, if it has one and somebody can see it. One that cannot be had is stated, and is none."""
    pipeline = plan.agent.pipeline
    if not isinstance(pipeline, Cascade) or pipeline.avatar is None or wire.page is None or not wire.page.is_watching:
        return None
    narrator.serves("avatar", pipeline.avatar.vendor, "")
    try:
        avatar = build_avatar(pipeline.avatar, plan, wire.sound, resources)
    except (VendorUnusable, SecretUnusable) as error:
        narrator.vendor_failed("avatar", str(error), is_fatal=False)
        return None
    return Face(avatar, wire.page.show, narrator, wire.sound)


def _recall(agent: AgentSpec, resources: Resources, narrator: Narrator, context: LLMContext) -> Recall | None:
    links = tuple(link for link in agent.knowledge if isinstance(link, KnowledgeAuto))
    if not links or resources.library is None:
        return None
    is_kept = isinstance(agent.pipeline, SpeechToSpeech)
    clock_s = asyncio.get_running_loop().time
    return Recall(links, resources.library, narrator, context, clock_s, is_kept=is_kept)


def _context(agent: AgentSpec, story: Continuation) -> LLMContext:
    prompt = [{"role": "system", "content": agent.prompt}] if agent.prompt else []
    messages: list[Any] = [*prompt, *story.messages]
    return LLMContext(messages=messages)


def _answering(plan: CallStart, ends: _Ends, past: Past | None) -> Answering | None:
    """Of a call that we made, what finds out who has answered; None when that does not matter, or is known."""
    settings, clock_s = plan.agent.voicemail, asyncio.get_running_loop().time
    facts = past.facts if past is not None else ()
    is_machine = any(isinstance(fact, VoicemailDetected) for fact in facts)
    is_met = not is_machine and any(isinstance(fact, TranscriptFinal) for fact in facts)
    if settings is None or plan.direction != "outbound" or is_met:
        return None
    judge = Judge(settings, plan.agent.language, clock_s())
    gate = Gate if isinstance(plan.agent.pipeline, Cascade) else ModelGate
    judge.told("machine_end_other" if is_machine else plan.answered_by, clock_s())
    return Answering(
        settings,
        judge,
        gate(judge, clock_s),
        ends.mute,
        ends.speech,
        ends.narrator,
        ends.ending,
        clock_s,
        is_stated=is_machine,
    )


def _kit(
    plan: CallStart, ends: _Ends, resources: Resources, story: Continuation, context: LLMContext, giving: Giving
) -> Kit:
    secret = server_headers(plan, resources.open_secret)
    shared = _shared(plan, ends, resources, story, secret, giving)
    lookups = knowing.functions(plan.agent, resources.library, ends.narrator, asyncio.get_running_loop().time)
    if plan.mocks is not None:
        return Kit([*Mocks(plan.mocks).functions(plan.agent), *lookups], None, context, shared)
    servers = None
    if plan.agent.mcp_servers:
        wall = Wall(resources.egress_allow)

        def way(server: McpServer) -> Door:
            return door(server.transport, secret, wall, resources.mcp_programs)

        servers = ToolServers(plan.agent.mcp_servers, way, plan.call_id)
    tools = [function(tool) for tool in plan.agent.tools]
    return Kit([*tools, *lookups], servers, context, shared)


def _shared(
    plan: CallStart,
    ends: _Ends,
    resources: Resources,
    story: Continuation,
    secret: Mapping[str, Mapping[str, str]],
    giving: Giving,
) -> toolbox.Shared:
    """What the call's tools have in common."""
    reach = CallReach(
        call_id=plan.call_id,
        speech_heard=ends.speech.heard,
        play=ends.speech.play,
        end=ends.ending.because,
        hand_off=giving.give,
        pause_recording=lambda paused: (ends.recording.pause if paused else ends.recording.resume)("model"),
        transfer=giving.transfer,
        send_link=resources.send_link,
        opt_out=resources.opt_out,
        egress=ends.egress,
        signing_secrets=_signing_secrets(plan, resources),
        server_headers=secret,
    )
    return toolbox.Shared(
        reach=reach,
        narrator=ends.narrator,
        speech=ends.speech,
        allowance=toolbox.Allowance(plan.agent.guardrails.max_tool_calls_per_turn),
        is_over=lambda: ends.ending.outcome is not None,
        repeated=frozenset(call.tool_call_id for call in story.repeat_tools),
        way_out=please_repeat(plan.agent.language),
        entry=ends.entry,
    )


def _excuse(plan: CallStart, ends: _Ends, built: Built) -> Conversation:
    """A conversation that is over before it begins, but not without a word."""
    if plan.agent.recording == "on":
        ends.recording.begin(is_paused=False)
    worker = build_excuse(ends.caller, ends.output, built.services["tts"], ends.speech)
    stages: dict[FrameProcessor, Stage] = dict.fromkeys(processors(built.services["tts"]), "tts")
    return Conversation(_parts(plan.agent, ends, worker, stages, EXCUSE_WITHIN_S), None)


def _parts(
    agent: AgentSpec, ends: _Ends, worker: PipelineWorker, stages: dict[FrameProcessor, Stage], lasts_s: float
) -> Parts:
    return Parts(
        agent=agent,
        lasts_s=lasts_s,
        worker=worker,
        stages=stages,
        ending=ends.ending,
        narrator=ends.narrator,
        speech=ends.speech,
        faults=ends.faults,
        recorder=ends.recorder,
        egress=ends.egress,
    )


def _story(plan: CallStart, past: Past | None, now: datetime) -> Continuation:
    if past is None:
        return Continuation(greet=True)
    if not past.is_known:
        return UNKNOWN
    functions = [function(tool) for tool in plan.agent.tools]
    told = continuation(past.facts, toolbox.end_replies(functions), toolbox.surviving(functions))
    if told.greet and plan.agent.first_message:
        told = replace(told, run_model=False)
    return told if plan.resume is None else unheard(told, (now - plan.resume.lost_at).total_seconds())


def _protection(agent: AgentSpec, story: Continuation) -> Protection | None:
    """For the first message, or for what is left of it: one that another worker was cut off in is said again."""
    is_first = story.greet or (story.turn == 0 and bool(story.say))
    return Protection() if agent.turn_taking.protect_first_message and agent.first_message and is_first else None


def _lasts_s(agent: AgentSpec, story: Continuation, now: datetime) -> float:
    """How long the call may still last; another worker may have served it before."""
    passed_s = 0.0 if story.answered_at is None else (now - story.answered_at).total_seconds()
    return max(_LEAST_S, agent.max_duration_s - max(0.0, passed_s))


def _recorder(plan: CallStart, wire: Wire, resources: Resources) -> Recorder:
    key = partial(recording_part, plan.project_id, plan.call_id, plan.epoch)
    return Recorder(key, resources.blobs, resources.recordings_spool, wire.sound)


def _signing_secrets(plan: CallStart, resources: Resources) -> tuple[str, ...]:
    sealed = plan.signing_secrets or ((plan.signing_secret,) if plan.signing_secret is not None else ())
    return tuple(resources.open_secret(secret) for secret in sealed)


def server_headers(plan: CallStart, open_secret: Callable[[str], str]) -> dict[str, dict[str, str]]:
    """For each host, the headers that the project keeps secret for it. Raises `SecretUnusable`."""
    return {host: json.decode(open_secret(box), type=dict[str, str]) for host, box in plan.server_headers.items()}
