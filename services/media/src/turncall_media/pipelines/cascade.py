"""The cascade: wire in, speech to text, the caller's turns, a model, a voice, wire out, what was heard.

Only the vendors and the caller's turns have queues and tasks of their own; everything else runs within its neighbours.
The caller's audio ends at the speech-to-text, the agent's at the wire.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    FunctionCallsStartedFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMContextUserTurnFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMUsageMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMAssistantAggregator,
    LLMUserAggregator,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.tts_service import TTSService

from turncall_media.audio.sound import duration_ms
from turncall_media.pipelines.aloud import plain, pronounced
from turncall_media.pipelines.answering import Answering
from turncall_media.pipelines.consent import Consent
from turncall_media.pipelines.face import Face
from turncall_media.pipelines.faults import Faults
from turncall_media.pipelines.keypad import Keys
from turncall_media.pipelines.kit import Kit, KitGate
from turncall_media.pipelines.knowing import Recall
from turncall_media.pipelines.knowledge_gates import KnowledgeGate
from turncall_media.pipelines.listening import CallerInput
from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.patience import Patience
from turncall_media.pipelines.speaking import AgentOutput
from turncall_media.pipelines.speech import Speech
from turncall_media.pipelines.succession import Succession, each_service
from turncall_media.pipelines.tap import Tap, by_class
from turncall_media.pipelines.vendors import Vendors
from turncall_media.report.events import Narrator

CONNECT_WITHIN_S = 10.0
"""For all vendors together, before the first word."""
CANCEL_WITHIN_S = 3.0


def build_worker(
    caller: CallerInput,
    agent: AgentOutput,
    vendors: Vendors,
    turns: LLMUserAggregatorParams,
    context: LLMContext,
    narrator: Narrator,
    speech: Speech,
    faults: Faults,
    keys: Keys,
    pronunciations: Mapping[str, str],
    mute: Mute,
    kit: Kit,
    consent: Consent,
    answering: Answering | None = None,
    recall: Recall | None = None,
    face: Face | None = None,
) -> PipelineWorker:
    """The pipeline of one call, not started. Pipecat's own extras (RTVI, turn tracking, idle watch) are off: they cost
    a third of the work for each frame (measured), and what they tell is told by ``narrator``."""
    patience = Patience(partial(report, vendors.llm))

    def failed(_: ErrorFrame) -> None:
        patience.answered()
        faults.broke("llm")

    asked = by_class({LLMContextFrame: lambda _: patience.asked()})
    mouth = Tap("Mouth", _mouth(narrator, speech, faults, patience), up=asked, holds=mute.holds)
    speech.mouth = mouth
    each_service(vendors.tts, partial(_count_characters, narrator))
    each_service(vendors.tts, partial(_read_aloud, pronounced(pronunciations)))
    return worker_of(
        caller,
        [
            *([Tap("Beep", answering.hear)] if answering is not None else []),
            vendors.stt,
            Tap("Ear", _ear(narrator, faults, recall), swallows=(InputAudioRawFrame,)),
            *([answering.gate] if answering is not None else []),
            keys,
            LLMUserAggregator(context, params=turns),
            Tap(
                "Floor",
                _floor(narrator, patience, consent, faults),
                up=by_class({ErrorFrame: failed}),
                holds=lambda frame: consent.holds(frame) or mute.holds(frame),
            ),
            *([KitGate(kit)] if kit.is_awaited else []),
            *([KnowledgeGate(recall)] if recall is not None else []),
            vendors.llm,
            mouth,
            vendors.tts,
            *([face] if face is not None else []),
            agent,
            LLMAssistantAggregator(context, enable_direct_mode=True),
        ],
    )


def build_excuse(caller: CallerInput, agent: AgentOutput, tts: FrameProcessor, speech: Speech) -> PipelineWorker:
    """A pipeline with a voice and nothing else, not started: what the caller says goes unheard."""
    mouth = Tap("Mouth", speech.notice, swallows=(InputAudioRawFrame,))
    speech.mouth = mouth
    return worker_of(caller, [mouth, tts, agent])


def worker_of(caller: CallerInput, stages: list[FrameProcessor]) -> PipelineWorker:
    """The caller and these processors as a pipeline at the wire's rate, without Pipecat's extras."""
    rate_hz = caller.sound.rate_hz
    return PipelineWorker(
        Pipeline([caller, *stages]),
        params=PipelineParams(audio_in_sample_rate=rate_hz, audio_out_sample_rate=rate_hz, enable_usage_metrics=True),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        check_dangling_tasks=False,
        setup_timeout_secs=CONNECT_WITHIN_S,
        start_timeout_secs=CONNECT_WITHIN_S,
        cancel_timeout_secs=CANCEL_WITHIN_S,
    )


def _ear(narrator: Narrator, faults: Faults, recall: Recall | None) -> Any:
    def audio(frame: InputAudioRawFrame) -> None:
        narrator.usage["stt"].audio_ms += duration_ms(frame.audio, frame.sample_rate)

    def final(frame: TranscriptionFrame) -> None:
        faults.worked("stt")
        narrator.caller_final()
        if recall is not None:
            recall.heard(frame.text)

    def partial(frame: InterimTranscriptionFrame) -> None:
        narrator.caller_partial(frame.text)

    return by_class({InputAudioRawFrame: audio, TranscriptionFrame: final, InterimTranscriptionFrame: partial})


def _floor(narrator: Narrator, patience: Patience, consent: Consent, faults: Faults) -> Any:
    def interrupted(_: InterruptionFrame) -> None:
        patience.answered()
        faults.ended("llm")
        narrator.reply_abandoned()

    def said(frame: LLMContextUserTurnFrame) -> None:
        narrator.caller_said(frame.text)
        consent.heard(frame.text)

    return by_class(
        {
            UserStartedSpeakingFrame: lambda _: narrator.caller_turn_began(),
            UserStoppedSpeakingFrame: lambda _: narrator.caller_turn_ended(),
            LLMContextUserTurnFrame: said,
            LLMContextFrame: lambda _: patience.asked(),
            InterruptionFrame: interrupted,
        }
    )


def _mouth(narrator: Narrator, speech: Speech, faults: Faults, patience: Patience) -> Any:
    def worked(_: Frame) -> None:
        patience.answered()
        faults.began("llm")

    def ended(_: LLMFullResponseEndFrame) -> None:
        faults.ended("llm")
        patience.ended()

    def spoke(frame: LLMTextFrame) -> None:
        patience.calmed()
        narrator.model_spoke()
        if frame.text.strip():
            worked(frame)

    def counted(frame: MetricsFrame) -> None:
        for data in frame.data:
            if isinstance(data, LLMUsageMetricsData):
                usage = narrator.usage["llm"]
                usage.input_tokens += data.value.prompt_tokens
                usage.output_tokens += data.value.completion_tokens

    listed = by_class(
        {
            LLMTextFrame: spoke,
            FunctionCallsStartedFrame: worked,
            LLMFullResponseStartFrame: lambda _: patience.began(),
            LLMFullResponseEndFrame: ended,
            MetricsFrame: counted,
        }
    )

    def notice(frame: Frame) -> None:
        speech.notice(frame)
        listed(frame)

    return notice


def report(llm: FrameProcessor, failure: Exception) -> None:
    """A model that says nothing has failed like one that says so; one with fallbacks is watched more closely there."""
    if not isinstance(llm, Succession):
        llm.create_task(llm.push_error(str(failure), exception=failure))


def _read_aloud(say: Callable[[str], str], tts: FrameProcessor) -> None:
    if not isinstance(tts, TTSService):
        return

    async def prepared(text: str, _: str) -> str:
        return say(plain(text))

    tts.add_text_transformer(prepared)


def _count_characters(narrator: Narrator, tts: FrameProcessor) -> None:
    if not isinstance(tts, TTSService):
        return

    async def asked(_: TTSService, __: str, text: str) -> None:
        narrator.usage["tts"].characters += len(text)

    tts.add_event_handler("on_tts_request", asked)
