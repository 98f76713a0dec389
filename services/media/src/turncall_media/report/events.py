"""What happens in a conversation, told as facts of the contract.

Turns are counted here: 0 is the greeting, each utterance of the caller opens the next. Times of the audio clock are
milliseconds since the stream began; times in seconds are the event loop's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct

from turncall_media.report.measure import Stopwatch
from turncall_media.report.recorder import Recording
from turncall_media.seams import Reporter
from turncall_proto.call import Resume
from turncall_proto.command import Command
from turncall_proto.events import (
    CallResumed,
    CallStarted,
    CommandDone,
    ContextInjected,
    DtmfReceived,
    KnowledgeRetrieved,
    LeftOut,
    RecordingChanged,
    RecordingReady,
    ToolCalled,
    ToolReturned,
    ToolsDiscovered,
    TranscriptFinal,
    TransferBegun,
    TurnMeasured,
    UsageReported,
    UtteranceBegun,
    VariablesMissing,
    VendorFailed,
    VoicemailDetected,
)
from turncall_proto.ids import CallId, WorkerId
from turncall_proto.knowledge import Citation
from turncall_proto.live import TranscriptPartial

Stage = Literal["stt", "llm", "tts", "speech", "avatar"]
LONGEST_DETAIL: Final = 500
BEHIND_MS: Final = 400
"""Audio that comes later than this waits somewhere; a network's jitter is less."""


class Usage(Struct):
    """What one vendor did for its stage so far."""

    vendor: str
    model: str = ""
    audio_ms: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0


class Told(Struct, frozen=True, kw_only=True):
    """What came of one look into the documents. ``waited_s`` is what a reply waited for it."""

    mode: Literal["prompt", "auto", "tool"]
    question: str = ""
    citations: tuple[Citation, ...] = ()
    latency_s: float = 0.0
    waited_s: float = 0.0
    detail: str = ""
    tool_call_id: str = ""


def report_knowledge(reporter: Reporter, told: Told, turn: int) -> None:
    """States what the model was told of knowledge bases."""
    reporter.report(
        KnowledgeRetrieved,
        mode=told.mode,
        turn=turn,
        question=told.question,
        citations=told.citations,
        latency_ms=round(told.latency_s * 1000),
        waited_ms=round(told.waited_s * 1000),
        detail=told.detail[:LONGEST_DETAIL],
        tool_call_id=told.tool_call_id,
    )


class Narrator:
    """States the facts of one epoch. ``clock_s`` is the event loop's; ``opened_at_s`` is where the audio clock is 0."""

    def __init__(
        self,
        reporter: Reporter,
        call: tuple[CallId, int],
        clock_s: Callable[[], float],
        opened_at_s: float,
    ) -> None:
        self._reporter = reporter
        self._call_id, self._epoch = call
        self._clock_s = clock_s
        self._opened_at_s = opened_at_s
        self._watch = Stopwatch()
        self._voice_ms: tuple[int, int] | None = None  # where the caller's voice last began and ended
        self._turn_began_ms: int | None = None
        self._wordless: dict[int, tuple[int, int]] = {}  # turns whose words are still to come: began, ended
        self._is_cut_off = False
        self._is_voice_on = False
        self._has_caller_the_floor = False
        self._heard_ms = 0.0  # how far the caller's audio has been listened to
        self._tools_at_work = 0
        self._key_s: float | None = None  # when the caller last pressed one
        self._served: list[tuple[Stage, Usage]] = []
        self.usage: dict[Stage, Usage] = {}  # of who serves each stage by now
        self.turn = 0
        self.keys_s = 0.0  # after a key, in which the next one may come
        self.are_keys_masked = False

    @property
    def is_busy(self) -> bool:
        """Whether the caller speaks, presses keys or has the floor, or a tool is at work."""
        is_typing = self._key_s is not None and self._clock_s() - self._key_s < self.keys_s
        return is_typing or self._is_voice_on or self._has_caller_the_floor or self._tools_at_work > 0

    @property
    def is_behind(self) -> bool:
        """Whether the caller may be speaking unheard: audio waits to be listened to, or does not come."""
        return self.call_ms(self._clock_s()) - self._heard_ms > BEHIND_MS

    @property
    def has_caller_the_floor(self) -> bool:
        """Whether the caller speaks, or has not given the floor back yet."""
        return self._has_caller_the_floor

    @property
    def is_caller_speaking(self) -> bool:
        """Whether the caller's voice is heard at this moment."""
        return self._is_voice_on

    def now_ms(self) -> int:
        """This moment on the audio clock."""
        return self.call_ms(self._clock_s())

    def call_ms(self, at_s: float) -> int:
        """A moment of the event loop on the audio clock."""
        return max(0, round((at_s - self._opened_at_s) * 1000))

    def started(self) -> None:
        """The pipeline runs and audio flows both ways."""
        self._reporter.report(CallStarted, setup_ms=self.call_ms(self._clock_s()))

    def resumed(self, resume: Resume, worker: WorkerId, now: datetime) -> None:
        """``worker`` is live with a call that another one began; ``now`` is aware UTC."""
        self._reporter.report(
            CallResumed,
            from_epoch=resume.from_epoch,
            from_worker=resume.from_worker,
            to_worker=worker,
            cause=resume.cause,
            gap_ms=max(0, round((now - resume.lost_at).total_seconds() * 1000)),
        )

    def lets_go(self, to: str, mode: Literal["cold", "warm"]) -> None:
        """The caller is being connected to a person."""
        self._reporter.report(TransferBegun, to=to, mode=mode)

    def cut_off(self) -> None:
        """The call goes on elsewhere: whoever speaks is cut, and tools that run are left to the next worker."""
        self._is_cut_off = True

    def listened(self, until_ms: float) -> None:
        """The caller's audio was listened to, up to this point of the audio clock."""
        self._heard_ms = until_ms

    def voice_began(self, at_ms: int) -> None:
        """The caller's voice began at ``at_ms`` of the audio clock."""
        self._voice_ms = (at_ms, at_ms)
        self._is_voice_on = True

    def voice_ended(self, at_ms: int, late_ms: int) -> None:
        """The caller fell silent at ``at_ms``, which was found out ``late_ms`` later: at this moment."""
        began_ms = self._voice_ms[0] if self._voice_ms else at_ms
        self._voice_ms = (began_ms, at_ms)
        self._is_voice_on = False
        self._watch.voice_ended(self._clock_s() - late_ms / 1000)

    def caller_partial(self, text: str, turn: int | None = None) -> None:
        """What the caller seems to be saying, or to have said in a ``turn`` that is over."""
        self._reporter.whisper(
            TranscriptPartial(
                call_id=self._call_id, epoch=self._epoch, turn=turn or self.turn + 1, speaker="caller", text=text
            )
        )

    def caller_final(self) -> None:
        """Words of the caller are final; the turn may still go on."""
        self._watch.transcript_final(self._clock_s())

    def caller_turn_began(self) -> None:
        """The caller has the floor."""
        self._has_caller_the_floor = True
        self._turn_began_ms = self._voice_ms[0] if self._voice_ms else None
        began_ms = self.call_ms(self._clock_s()) if self._turn_began_ms is None else self._turn_began_ms
        self._reporter.report(UtteranceBegun, speaker="caller", text="", turn=self.turn + 1, start_ms=began_ms)

    def caller_turn_ended(self) -> None:
        """The caller has given the floor back, with words or without."""
        self._has_caller_the_floor = False

    def caller_said(self, text: str) -> None:
        """The caller's turn is over, and a reply was asked for."""
        self.caller_words(self.caller_turn_decided(), text)

    def caller_turn_decided(self) -> int:
        """The caller's turn is over, and a reply is asked for; the turn's number. Its words are told when they come."""
        now_s = self._clock_s()
        self.turn += 1
        began_ms, ended_ms = self._voice_ms or (self.call_ms(now_s),) * 2
        began_ms = min(began_ms if self._turn_began_ms is None else self._turn_began_ms, ended_ms)
        self._turn_began_ms = None
        self._wordless[self.turn] = (began_ms, ended_ms)
        self._watch.turn_decided(now_s)
        return self.turn

    def caller_words(self, turn: int, text: str) -> None:
        """What the caller said in ``turn``. Turns without words are never told of."""
        began_ms, ended_ms = self._wordless.pop(turn)
        self._reporter.report(
            TranscriptFinal,
            speaker="caller",
            text=text,
            start_ms=began_ms,
            end_ms=ended_ms,
            turn=turn,
            is_interrupted=self._is_cut_off,
        )

    def model_spoke(self) -> None:
        """The model's first token of a reply, and every one after it."""
        self._watch.first_token(self._clock_s())

    def reply_abandoned(self) -> None:
        """The caller took the floor before the reply was heard."""
        self._watch.interrupted()

    def agent_began(self, turn: int) -> None:
        """The first audio of an utterance of ``turn`` was handed to the carrier."""
        times = self._watch.first_audio(self._clock_s())
        if times is not None:
            self._reporter.report(
                TurnMeasured,
                turn=turn,
                reply_ms=times.reply_ms,
                endpointing_ms=times.endpointing_ms,
                stt_final_ms=times.stt_final_ms,
                llm_first_token_ms=times.llm_first_token_ms,
                tts_first_audio_ms=times.tts_first_audio_ms,
            )

    def agent_sentence_began(self, text: str, following: str, turn: int, at_s: float) -> None:
        """A sentence began to be played at ``at_s``; ``following`` is the rest of the reply, as far as it is known."""
        self._reporter.report(
            UtteranceBegun, speaker="agent", text=text, following=following, turn=turn, start_ms=self.call_ms(at_s)
        )

    def agent_said(self, text: str, turn: int, began_s: float, ended_s: float, *, is_interrupted: bool) -> None:
        """The caller heard ``text``; words that were not played are not in it."""
        began_ms = self.call_ms(began_s)
        self._reporter.report(
            TranscriptFinal,
            speaker="agent",
            text=text,
            start_ms=began_ms,
            end_ms=max(began_ms, self.call_ms(ended_s)),
            turn=turn,
            is_interrupted=is_interrupted,
        )

    def tool_called(self, tool_call_id: str, tool: str, arguments: dict[str, Any], bound: Mapping[str, str]) -> None:
        """The model asked for a tool, which has not run yet; ``bound`` are arguments that it did not set."""
        self._tools_at_work += 1
        self._reporter.report(
            ToolCalled, tool_call_id=tool_call_id, tool=tool, arguments=arguments, turn=self.turn, bound=dict(bound)
        )

    def tool_returned(self, tool_call_id: str, tool: str, output: Any, latency_s: float, *, is_ok: bool) -> None:
        """What the tool answered, or why it could not; nothing when it was left to the next worker."""
        self._tools_at_work -= 1
        if self._is_cut_off:
            return
        self._reporter.report(
            ToolReturned,
            tool_call_id=tool_call_id,
            tool=tool,
            is_ok=is_ok,
            output=output,
            latency_ms=max(0, round(latency_s * 1000)),
        )

    def informed(self, told: Told) -> None:
        """The model was told something of knowledge bases, or nothing was found to tell."""
        report_knowledge(self._reporter, told, self.turn)

    def tools_discovered(
        self, server: str, tools: tuple[str, ...], left_out: tuple[LeftOut, ...], took_s: float, why: str
    ) -> None:
        """What an MCP server offers, or why it offers nothing."""
        self._reporter.report(
            ToolsDiscovered,
            server=server,
            tools=tools,
            left_out=left_out,
            took_ms=round(took_s * 1000),
            why=why[:LONGEST_DETAIL],
        )

    def variables_missing(self, names: tuple[str, ...]) -> None:
        """Places in the agent's texts that nothing filled."""
        self._reporter.report(VariablesMissing, names=names)

    def reached_machine(self, clue: Literal["carrier", "words", "beep", "length"]) -> None:
        """A machine has answered."""
        self._reporter.report(VoicemailDetected, clue=clue)

    def key_pressed(self, digit: str) -> None:
        """The caller pressed a key; where keys are secret, nobody is told which."""
        self._key_s = self._clock_s()
        is_masked = self.are_keys_masked
        self._reporter.report(DtmfReceived, digit="*" if is_masked else digit, is_masked=is_masked)

    def injected(self, text: str, role: Literal["system", "user"], *, is_answered: bool) -> None:
        """The model was told something beside the conversation."""
        self._reporter.report(ContextInjected, text=text, role=role, is_answered=is_answered)

    def obeyed(self, command: Command) -> None:
        """A command to the call was carried out."""
        self._reporter.report(CommandDone, command_id=command.command_id, command=str(command.__struct_config__.tag))

    def vendor_failed(self, stage: Stage, detail: str, *, is_fatal: bool, taken_over_by: str = "") -> None:
        """The vendor of a stage refused, broke or went silent; ``taken_over_by`` is who serves it from here on."""
        self._reporter.report(
            VendorFailed,
            kind=stage,
            vendor=self.usage[stage].vendor,
            detail=detail[:LONGEST_DETAIL],
            is_fatal=is_fatal,
            taken_over_by=taken_over_by,
        )

    def serves(self, stage: Stage, vendor: str, model: str) -> None:
        """This vendor serves the stage from here on; what others did before stays theirs."""
        self.usage[stage] = Usage(vendor, model)
        self._served.append((stage, self.usage[stage]))

    def recording_changed(
        self,
        change: Literal["consented", "declined", "paused", "resumed"],
        by: Literal["keys", "words", "silence", "command", "model"],
    ) -> None:
        """Whether the call is recorded from here on, and who says so."""
        self._reporter.report(RecordingChanged, change=change, by=by)

    def recorded(self, recording: Recording) -> None:
        """The whole recording lies in the object store."""
        self._reporter.report(
            RecordingReady, rate_hz=recording.rate_hz, duration_ms=recording.duration_ms, parts=recording.parts
        )

    def closed(self) -> None:
        """The epoch is over: what each vendor did for it."""
        for stage, usage in self._served:
            self._reporter.report(
                UsageReported,
                kind=stage,
                vendor=usage.vendor,
                model=usage.model,
                audio_ms=usage.audio_ms,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                characters=usage.characters,
                input_audio_tokens=usage.input_audio_tokens,
                output_audio_tokens=usage.output_audio_tokens,
            )
