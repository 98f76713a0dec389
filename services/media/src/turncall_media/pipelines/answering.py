"""What an agent does while it is not clear who has answered its call, and when that is no person.

Until then the caller's turns are held back, and the agent says nothing; a person gets what was held, and the agent. A
machine gets the message after its beep, or nothing, and the call ends.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from turncall_media.pipelines.ending import Ending
from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.speech import Speech
from turncall_media.report.events import Narrator
from turncall_media.stages.exchange import AnswerFrame, CallerWordsFrame
from turncall_media.turns.answered import Judge, Party
from turncall_media.turns.beep import BeepDetector
from turncall_proto.agent import Voicemail
from turncall_proto.call import EndedReason

LOOK_EVERY_S: Final = 0.05
LATE_WORDS_S: Final = 1.5
"""In which words may still come of a voice that has ended."""
_HELD: Final = (
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)


class Gate(FrameProcessor):
    """Stands behind the speech to text: tells ``judge`` what is heard, and holds the caller's turns while it is shut.

    Runs within its neighbours (direct mode). ``clock_s`` is the event loop's.
    """

    def __init__(self, judge: Judge, clock_s: Callable[[], float]) -> None:
        super().__init__(name="Gate", enable_direct_mode=True)
        self._judge = judge
        self._clock_s = clock_s
        self._held: list[Frame] = []
        self._late_until_s = 0.0
        self.is_shut = True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM and isinstance(frame, _HELD):
            self._tell(frame)
            if isinstance(frame, VADUserStartedSpeakingFrame):
                self._late_until_s = 0.0
            if self.is_shut:
                self._held.append(frame)
                return
            if self._clock_s() < self._late_until_s:
                return
        await self.push_frame(frame, direction)

    def take(self) -> str:
        """The words that were held, for whom there is an answer already; lets through what comes after them.

        Words that are understood late, of what was said before, are left out.
        """
        words = " ".join(frame.text for frame in self._held if isinstance(frame, TranscriptionFrame))
        self._held, self.is_shut = [], False
        self._late_until_s = self._clock_s() + LATE_WORDS_S
        return words

    async def open(self) -> None:
        """Lets through what was held, in its order, and all that comes."""
        held, self._held, self.is_shut = self._held, [], False
        for frame in held:
            await self.push_frame(frame)

    def shut(self) -> None:
        """Holds what comes; what was held is forgotten."""
        self._held, self.is_shut = [], True

    def _tell(self, frame: Frame) -> None:
        now_s = self._clock_s()
        match frame:
            case VADUserStartedSpeakingFrame(start_secs=start_s):
                self._judge.voice_began(now_s - start_s)
            case VADUserStoppedSpeakingFrame(stop_secs=stop_s):
                self._judge.voice_ended(now_s - stop_s)
            case TranscriptionFrame(text=text):
                self._judge.said(text, now_s)


class ModelGate(Gate):
    """Stands before the caller's turns of a model that hears by itself: while it is shut, what is said goes past them
    to the model, through ``before_model``, and at each pause the model is asked to write down what it heard.

    A voice goes where it began, to its end. The numbers of what is written down for the gate are below zero.
    """

    def __init__(self, judge: Judge, clock_s: Callable[[], float]) -> None:
        super().__init__(judge, clock_s)
        self.before_model: FrameProcessor | None = None
        self._is_past_turns = False  # the voice that goes on, or the last one
        self._asked = 0
        self._awaited: set[int] = set()
        self._words: list[str] = []
        self._is_written = asyncio.Event()
        self._is_written.set()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await FrameProcessor.process_frame(self, frame, direction)
        match frame:
            case VADUserStartedSpeakingFrame():
                self._tell(frame)
                self._is_past_turns = self.is_shut
            case VADUserStoppedSpeakingFrame():
                self._tell(frame)
            case _:
                await self.push_frame(frame, direction)
                return
        if not self._is_past_turns:
            await self.push_frame(frame, direction)
            return
        assert self.before_model is not None  # set when the pipeline is put together
        await self.before_model.push_frame(frame)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._asked -= 1
            self._awaited.add(self._asked)
            self._is_written.clear()
            await self.before_model.push_frame(AnswerFrame(self._asked, is_answered=False))

    def take(self) -> str:
        """As of any gate."""
        words, self._words, self.is_shut = " ".join(self._words), [], False
        return words

    async def open(self) -> None:
        """Lets the caller's turns be; what was said before is one, once it is written down."""
        self.is_shut = False
        with suppress(TimeoutError):
            async with asyncio.timeout(LATE_WORDS_S):
                await self._is_written.wait()
        if words := self.take():
            await self.push_frame(TranscriptionFrame(words, "", ""))

    def shut(self) -> None:
        """As of any gate."""
        self._words, self.is_shut = [], True

    def wrote(self, frame: CallerWordsFrame) -> bool:
        """What the model has written down; whether that was for the gate alone."""
        if frame.is_final and frame.text:
            self._judge.said(frame.text, self._clock_s())
        if frame.turn >= 0:
            return False
        if frame.is_final:
            self._awaited.discard(frame.turn)
            if not self._awaited:
                self._is_written.set()
            if frame.text:
                self._words.append(frame.text)
        return True


class Answering:
    """One call of ours, from the answer until it is clear who is there, and to its end if that is no person.

    ``is_stated``: an earlier worker of the call has stated that a machine is there.
    """

    def __init__(
        self,
        settings: Voicemail,
        judge: Judge,
        gate: Gate,
        mute: Mute,
        speech: Speech,
        narrator: Narrator,
        ending: Ending,
        clock_s: Callable[[], float],
        *,
        is_stated: bool = False,
    ) -> None:
        self.gate = gate
        self.hello = ""
        self._settings = settings
        self._judge = judge
        self._mute = mute
        self._speech = speech
        self._narrator = narrator
        self._ending = ending
        self._clock_s = clock_s
        self._beep = BeepDetector()
        self._is_stated = is_stated

    def hear(self, frame: Frame) -> None:
        """Listens to the audio of the called side for a beep."""
        if isinstance(frame, InputAudioRawFrame) and self._beep.feed(frame.audio):
            self._judge.beeped(self._clock_s())

    async def is_person(self, *, is_greeted: bool) -> bool:
        """Whether a person has answered, once that is clear, and then the caller's turns go on their way.

        With ``is_greeted`` the agent has a greeting that answers their hello, which is in `hello` then.

        When it returns False the call is ending: a machine got what it was to get. An assistant is told on the way why
        we call. Until then the model is silenced: a turn that a greeting had opened may still have it reply.
        """
        was_muted, self._mute.is_on = self._mute.is_on, True
        while True:
            party = self._judge.look(self._clock_s())
            if party is Party.PERSON:
                self._mute.is_on = was_muted
                if is_greeted:
                    self.hello = self.gate.take()
                else:
                    await self.gate.open()
                return True
            if party is Party.ASSISTANT:
                await self._explain()
            elif party is Party.MACHINE and await self._serve_machine():
                return False
            await asyncio.sleep(LOOK_EVERY_S)

    async def watch(self) -> None:
        """Listens on for a while after a person was taken to be there: greetings may begin like one."""
        until_s = self._clock_s() + self._settings.listen_s
        while self._clock_s() < until_s:
            if self._judge.party is not Party.PERSON:
                self.gate.shut()
                await self.gate.push_frame(InterruptionFrame())
                if not await self.is_person(is_greeted=False):
                    return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _explain(self) -> None:
        if self._settings.purpose:
            await self._speech.say(self._settings.purpose, is_kept=True, is_ordered=True)
            await self._speech.heard()
        self._judge.screened(self._clock_s())

    async def _serve_machine(self) -> bool:
        """Leaves the message, if there is one to leave, and ends the call. False when a person picks up meanwhile."""
        if self._settings.action == "leave_message":
            while not (self._judge.may_speak(self._clock_s()) and not self._beep.is_sounding):
                if self._judge.look(self._clock_s()) is not Party.MACHINE:
                    return False
                await asyncio.sleep(LOOK_EVERY_S)
        if not self._is_stated:
            self._is_stated = True
            self._narrator.reached_machine(self._judge.clue)
        self._ending.reached_machine()
        if self._settings.action == "leave_message":
            await self._speech.say(self._settings.message, is_kept=True, is_ordered=True)
            await self._speech.heard()
        self._ending.because(EndedReason.VOICEMAIL)
        return True
