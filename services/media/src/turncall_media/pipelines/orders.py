"""What a person tells the agent of a live call to do, and how the pipeline does it.

Each order is stated as done in the moment in which the pipeline has it. What then takes its time, such as a sentence
that waits for the one before, is heard afterwards, or is cut by whoever interrupts.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from msgspec import Struct
from pipecat.frames.frames import InterruptionFrame, LLMRunFrame
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_media.audio.tones import tones
from turncall_media.pipelines.ending import Ending
from turncall_media.pipelines.giving import Giving
from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.speech import Speech
from turncall_media.report.events import Narrator
from turncall_media.report.switch import RecordingSwitch
from turncall_media.tools.shape import ToolFailed
from turncall_proto.command import (
    AnyCommand,
    CommandReply,
    HandOff,
    Inject,
    PauseRecording,
    ResumeRecording,
    Say,
    SendDtmf,
    Transfer,
    Unmute,
)
from turncall_proto.command import Mute as MuteCommand

_DONE: Final = CommandReply(outcome="done")
_NOT_RECORDED: Final = CommandReply(outcome="refused", detail="the call is not recorded")


class Orders(Struct, frozen=True, kw_only=True):
    """Carries commands out on one pipeline, once it runs."""

    worker: PipelineWorker
    context: LLMContext
    speech: Speech
    mute: Mute
    narrator: Narrator
    ending: Ending
    giving: Giving
    recording: RecordingSwitch

    async def obey(self, command: AnyCommand, begin: Callable[[Coroutine[Any, Any, None]], None]) -> CommandReply:
        """Does what is asked. ``begin`` runs what takes longer, for as long as the conversation lasts."""
        if self.ending.outcome is not None:
            return CommandReply(outcome="refused", detail="the call is ending")
        match command:
            case Say(text=text):
                begin(self._say(text))
            case Inject():
                self._inject(command, begin)
            case MuteCommand():
                await self._silence()
            case Unmute():
                await self._unsilence()
            case PauseRecording():
                if not self.recording.pause("command"):
                    return _NOT_RECORDED
            case ResumeRecording():
                if not self.recording.resume("command"):
                    return _NOT_RECORDED
            case SendDtmf(digits=digits):
                begin(self._press(digits))
            case HandOff(agent_id=agent_id, reason=reason):
                try:
                    await self.giving.ask(agent_id, reason)
                except ToolFailed as failure:
                    return CommandReply(outcome="refused", detail=str(failure))
                begin(self._leave())
            case Transfer():
                begin(self._connect(command))
        self.narrator.obeyed(command)
        return _DONE

    async def interrupt(self) -> None:
        """Has the agent fall silent; returns when the conversation holds what was heard of it, and nothing more."""
        await self.worker.queue_frames([InterruptionFrame()])
        await self.speech.heard()

    async def _say(self, text: str) -> None:
        await self.speech.written()
        await self.speech.say(text, is_kept=True, is_ordered=True)

    async def _press(self, digits: str) -> None:
        await self.speech.heard()
        await self.speech.play(tones(digits))

    async def _connect(self, command: Transfer) -> None:
        """Lets the caller go; what keeps control from connecting them is told to the model."""
        if command.message:
            await self._say(command.message)
        await self.speech.heard()
        try:
            await self.giving.transfer(command.order, "")
        except ToolFailed as failure:
            self._inject_text(str(failure), "system")

    def _inject_text(self, text: str, role: Literal["system", "user"], *, is_answered: bool = False) -> None:
        message: Any = {"role": role, "content": text}
        self.context.add_message(message)
        self.narrator.injected(text, role, is_answered=is_answered)

    async def _leave(self) -> None:
        await self.speech.heard()
        self.giving.leave()

    def _inject(self, command: Inject, begin: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._inject_text(command.text, command.role, is_answered=command.is_answered)
        if command.is_answered:
            begin(self._ask())

    async def _ask(self) -> None:
        """Has the model reply when it is the agent's turn; a caller who speaks meanwhile has it asked in any case."""
        turn = self.narrator.turn
        await self.speech.heard()
        if self.narrator.turn == turn and not self.narrator.has_caller_the_floor:
            await self.worker.queue_frames([LLMRunFrame()])

    async def _silence(self) -> None:
        self.mute.is_on = True
        await self.worker.queue_frames([InterruptionFrame()])

    async def _unsilence(self) -> None:
        self.mute.is_on = False
        if self.mute.has_held:
            self.mute.has_held = False
            self.narrator.reply_abandoned()  # how long it was muted is no measure of the reply
            await self.worker.queue_frames([LLMRunFrame()])
