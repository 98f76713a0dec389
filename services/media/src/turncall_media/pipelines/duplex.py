"""The speech pipeline: wire in, the caller's turns, one model that hears and speaks, wire out, what was heard.

Turns are taken as in a cascade, by our own voice detector, so an agent's turn taking means the same in both. The words
of a turn are known only after the model has begun to answer it; their place in the conversation is kept for them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMContextUserTurnFrame,
    LLMFullResponseEndFrame,
    MetricsFrame,
    TTSAudioRawFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMUsageMetricsData
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMAssistantAggregator,
    LLMUserAggregator,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from turncall_media.audio.sound import duration_ms
from turncall_media.pipelines.answering import Answering, ModelGate
from turncall_media.pipelines.cascade import report, worker_of
from turncall_media.pipelines.consent import Consent
from turncall_media.pipelines.faults import Faults
from turncall_media.pipelines.keypad import Keys
from turncall_media.pipelines.kit import Kit, KitGate
from turncall_media.pipelines.knowing import Recall
from turncall_media.pipelines.knowledge_gates import HearingGate
from turncall_media.pipelines.last_words import LastWords
from turncall_media.pipelines.listening import CallerInput
from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.patience import Patience
from turncall_media.pipelines.speaking import AgentOutput
from turncall_media.pipelines.speech import ModelSpeech
from turncall_media.pipelines.tap import Tap, by_class
from turncall_media.report.events import Narrator
from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame, SaidFrame


def build_duplex(
    caller: CallerInput,
    agent: AgentOutput,
    model: FrameProcessor,
    last_words: LastWords,
    turns: LLMUserAggregatorParams,
    context: LLMContext,
    narrator: Narrator,
    speech: ModelSpeech,
    faults: Faults,
    keys: Keys,
    mute: Mute,
    kit: Kit,
    consent: Consent,
    answering: Answering | None = None,
    recall: Recall | None = None,
) -> PipelineWorker:
    """The pipeline of one call, not started."""
    knowledge = None if recall is None else HearingGate(recall, context)
    patience = Patience(partial(report, model))
    gate = answering.gate if answering is not None else None
    assert gate is None or isinstance(gate, ModelGate)
    words = CallerWords(context, narrator, consent, gate, knowledge)
    floor = Floor(narrator, speech, patience, words, mute, consent, faults)
    mouth = Tap(
        "Mouth",
        _mouth(narrator, speech, faults, patience, words),
        up=_asked_again(speech, patience),
        holds=mute.holds,
    )
    speech.prompter, speech.mouth = floor, mouth
    if gate is not None:
        gate.before_model = floor
    return worker_of(
        caller,
        [
            *([Tap("Beep", answering.hear)] if answering is not None else []),
            *([gate] if gate is not None else []),
            keys,
            LLMUserAggregator(context, params=turns),
            floor,
            *([KitGate(kit)] if kit.is_awaited else []),
            *([knowledge] if knowledge is not None else []),
            model,
            mouth,
            last_words,
            agent,
            LLMAssistantAggregator(context, enable_direct_mode=True),
        ],
    )


class CallerWords:
    """Keeps the places of turns whose words come later. ``gate`` and ``knowledge`` get to know all of them."""

    def __init__(
        self,
        context: LLMContext,
        narrator: Narrator,
        consent: Consent,
        gate: ModelGate | None = None,
        knowledge: HearingGate | None = None,
    ) -> None:
        self._context = context
        self._narrator = narrator
        self._consent = consent
        self._gate = gate
        self._knowledge = knowledge
        self._places: dict[int, dict[str, Any]] = {}

    def expect(self) -> int:
        """The caller's turn is over; its number."""
        turn = self._narrator.caller_turn_decided()
        place: Any = {"role": "user", "content": ""}
        self._places[turn] = place
        self._context.add_message(place)
        return turn

    def came(self, frame: CallerWordsFrame) -> None:
        """The words of a turn, or what they seem to be."""
        if self._gate is not None and self._gate.wrote(frame):
            return
        if not frame.is_final:
            self._narrator.caller_partial(frame.text, frame.turn)
            return
        self._narrator.caller_final()
        place = self._places.pop(frame.turn, None)
        if place is not None and frame.text:
            place["content"] = frame.text
            self._narrator.caller_words(frame.turn, frame.text)
            self._consent.heard_late(frame.text)
        if self._knowledge is not None:
            self._knowledge.came(frame.turn, frame.text)


class Floor(FrameProcessor):
    """Stands before the model, where it is decided that a turn is over: asks for the answer to what was heard in it.

    Runs within its neighbours (direct mode).
    """

    def __init__(
        self,
        narrator: Narrator,
        speech: ModelSpeech,
        patience: Patience,
        words: CallerWords,
        mute: Mute,
        consent: Consent,
        faults: Faults,
    ) -> None:
        super().__init__(name="Floor", enable_direct_mode=True)
        self._narrator = narrator
        self._speech = speech
        self._patience = patience
        self._words = words
        self._mute = mute
        self._consent = consent
        self._faults = faults
        self._is_voiced = False  # a turn may also be one of keys

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            if isinstance(frame, ErrorFrame):
                self._patience.answered()
                self._faults.broke("speech")
            await self.push_frame(frame, direction)
            return
        if self._consent.holds(frame) or self._mute.holds(frame):
            return
        self._note(frame)
        await self.push_frame(frame)
        if isinstance(frame, UserStoppedSpeakingFrame) and self._is_voiced:
            self._is_voiced = False
            await self._end_turn()

    async def _end_turn(self) -> None:
        """A muted agent hears and does not answer, nor does one that waits for the caller's consent."""
        turn = self._words.expect()
        is_answered = not self._consent.is_open and not self._mute.is_on
        if is_answered:
            self._asked()
        elif not self._consent.is_open:
            self._mute.has_held = True
        await self.push_frame(AnswerFrame(turn, is_answered=is_answered))

    def _note(self, frame: Frame) -> None:
        match frame:
            case VADUserStartedSpeakingFrame():
                self._is_voiced = True
            case UserStartedSpeakingFrame():
                self._narrator.caller_turn_began()
            case UserStoppedSpeakingFrame():
                self._narrator.caller_turn_ended()
            case LLMContextUserTurnFrame():
                self._narrator.caller_said(frame.text)
                self._consent.heard(frame.text)
            case LLMContextFrame():
                self._asked()
            case InterruptionFrame():
                self._patience.answered()
                self._faults.ended("speech")
                self._speech.notice(frame)
                self._narrator.reply_abandoned()

    def _asked(self) -> None:
        self._speech.asked()
        self._patience.asked()


def _asked_again(speech: ModelSpeech, patience: Patience) -> Any:
    """A tool has answered."""

    def asked(_: LLMContextFrame) -> None:
        speech.asked()
        patience.asked()

    return by_class({LLMContextFrame: asked})


def _mouth(
    narrator: Narrator, speech: ModelSpeech, faults: Faults, patience: Patience, words: CallerWords
) -> Callable[[Frame], None]:
    def worked(_: Frame) -> None:
        patience.answered()
        faults.began("speech")

    def ended(_: LLMFullResponseEndFrame) -> None:
        patience.answered()
        faults.ended("speech")

    def spoke(frame: Frame) -> None:
        worked(frame)
        narrator.model_spoke()

    def counted(frame: MetricsFrame) -> None:
        usage = narrator.usage["speech"]
        for data in frame.data:
            if isinstance(data, LLMUsageMetricsData):
                usage.input_tokens += data.value.prompt_tokens
                usage.output_tokens += data.value.completion_tokens
                usage.input_audio_tokens += data.value.input_audio_tokens or 0
                usage.output_audio_tokens += data.value.output_audio_tokens or 0

    def sounded(frame: TTSAudioRawFrame) -> None:
        narrator.usage["speech"].audio_ms += duration_ms(frame.audio, frame.sample_rate)
        spoke(frame)

    listed = by_class(
        {
            TTSAudioRawFrame: sounded,
            SaidFrame: spoke,
            CallerWordsFrame: words.came,
            FunctionCallsStartedFrame: worked,
            LLMFullResponseEndFrame: ended,
            MetricsFrame: counted,
        }
    )

    def notice(frame: Frame) -> None:
        if not isinstance(frame, InterruptionFrame):  # noticed on the floor, before what is asked for then
            speech.notice(frame)
        listed(frame)

    return notice
