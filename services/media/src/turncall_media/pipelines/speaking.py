"""The agent's side of a pipeline: from frames to the wire, in step with what the caller hears.

Everything behind this point happens when it was heard, not when it was made: frames that follow speech wait until the
carrier says that the speech was played, and what the context and the transcript get is what was played. An interruption
empties the carrier's queue at once and keeps the words that had been heard by then.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from pipecat.frames.frames import (
    AggregatedTextFrame,
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    ControlFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMAssistantPushAggregationFrame,
    LLMFullResponseEndFrame,
    OutputAudioRawFrame,
    StartFrame,
    SystemFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.text.base_text_aggregator import TextType

from turncall_media.audio.ambience import Ambience
from turncall_media.audio.resampling import resampled
from turncall_media.audio.sound import TELEPHONE, Sound
from turncall_media.pipelines.aloud import plain
from turncall_media.pipelines.faults import Faults
from turncall_media.report.events import Narrator
from turncall_media.report.recorder import Recorder
from turncall_media.seams import SocketClosed
from turncall_media.stages.exchange import HeardUntilFrame, SaidFrame
from turncall_media.wire.ledger import Ledger
from turncall_media.wire.pacer import Pacer
from turncall_media.wire.playout import Playout
from turncall_media.wire.stream import Wire

LONGEST_QUEUE_S: Final = 120
"""Of speech that may wait here, 2 to 4 MB; a vendor that makes more waits."""
BEGUN_AFTER_S: Final = 0.25
"""So much of a sentence must have been played before it is told as begun. By then the model has usually written
what follows; and a reply that is cut before is better made again than continued."""
_SOON_S: Final = 0.001
_ENDS_UTTERANCE: Final = (TTSStoppedFrame, LLMFullResponseEndFrame, LLMAssistantPushAggregationFrame, EndFrame)


@dataclass
class HeardFrame(ControlFrame):
    """Sent down behind speech, it sets ``heard`` when the caller has heard that speech to its end or interrupted it."""

    interruptible: bool = field(default=False, init=False)
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class SpeechCutFrame(ControlFrame):
    """The sentence that is being spoken breaks off behind its last audio; another voice begins it again."""


@dataclass
class SoundFrame(ControlFrame):
    """Sent down behind speech, it is played: ``pcm`` is mono s16le at 8 kHz, whatever the wire's rate is. An utterance
    without words."""

    pcm: bytes = b""


class Utterance:
    """One reply of the agent on its way to the caller. Positions are those of `Playout`."""

    def __init__(self, turn: int, sound: Sound, *, is_kept: bool) -> None:
        self.turn = turn
        self.is_kept = is_kept  # whether the model is to remember it
        self.reply_id = ""  # as the model that speaks by itself calls it
        self.ledger = Ledger(sound)
        self.start: int | None = None  # None until there is audio
        self.end = 0  # behind its last audio so far
        self.began_s: float | None = None  # None until its first audio was handed to the carrier
        self.is_complete = False
        self.sentences_begun = 0


class AgentOutput(FrameProcessor):
    """Plays what the vendors say on ``wire``. Runs within its neighbours (direct mode) but for one task that plays.

    ``lost`` is told when the socket is found closed, ``faults`` which speech came to its end. ``ambience`` is heard
    from the start to the end, behind the agent and alone; nothing else notices it.
    """

    def __init__(
        self,
        wire: Wire,
        recorder: Recorder | None,
        narrator: Narrator,
        lost: Callable[[SocketClosed], None],
        faults: Faults,
        ambience: Ambience | None = None,
    ) -> None:
        super().__init__(name="AgentOutput", enable_direct_mode=True)
        self._faults = faults
        self._wire = wire
        self._recorder = recorder
        self._narrator = narrator
        self._lost = lost
        self._sound = wire.sound
        self._playout = Playout(wire.sound)
        self._pacer = Pacer(self._playout, ambience, wire.sound)
        self._longest_queue = LONGEST_QUEUE_S * wire.sound.rate_hz
        self._utterances: deque[Utterance] = deque()
        self._later: deque[tuple[int, Frame | Utterance]] = deque()  # what happens once a position was heard
        self._is_speaking = False
        self._gate = asyncio.Lock()  # the playing task and an interruption take turns
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._playing: asyncio.Task[None] | None = None

    def mark_returned(self, name: str) -> None:
        """The carrier played, or forgot, everything before this mark."""
        self._playout.mark_returned(name, self._now_s())
        self._wake.set()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the module."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
            return
        match frame:
            case StartFrame():
                await self.push_frame(frame)
                self._playing = self.create_task(self._play())
            case InterruptionFrame():
                await self._interrupt(frame)
            case CancelFrame():
                await self._cancel(frame)
            case SystemFrame():
                await self.push_frame(frame)
            case SoundFrame():
                pcm = resampled(frame.pcm, TELEPHONE.rate_hz, self._sound.rate_hz)
                await self._put(OutputAudioRawFrame(pcm, self._sound.rate_hz, 1))
                self._follow(frame)
            case OutputAudioRawFrame():
                await self._put(frame)
            case TTSTextFrame():
                if not frame.pts:  # a word with its own time belongs to a sentence that was announced
                    self._open().ledger.spoken(plain(frame.text), self._pacer.end)
            case AggregatedTextFrame(will_be_spoken=True):
                self._open().ledger.announce(plain(frame.raw_text or frame.text), self._pacer.end)
            case SaidFrame():
                utterance = self._open()
                begin = self._pacer.end if utterance.start is None else utterance.start
                utterance.ledger.stream(plain(frame.text), begin)
            case SpeechCutFrame():
                self._open().ledger.cut(self._pacer.end)
            case _:
                self._follow(frame)

    async def cleanup(self) -> None:
        """Stops playing."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it unannotated
        await self._stop_playing()

    def _open(self, *, is_kept: bool = True) -> Utterance:
        """The utterance that is being made, a new one if there is none."""
        if not self._utterances or self._utterances[-1].is_complete:
            self._utterances.append(Utterance(self._narrator.turn, self._sound, is_kept=is_kept))
        return self._utterances[-1]

    def _follow(self, frame: Frame) -> None:
        if isinstance(frame, TTSStartedFrame):
            utterance = self._open()
            utterance.is_kept, utterance.reply_id = frame.append_to_context, frame.context_id or ""
            self._faults.began("tts")
        elif isinstance(frame, TTSStoppedFrame):
            self._faults.ended("tts")
        if (
            isinstance(frame, (*_ENDS_UTTERANCE, SoundFrame))
            and self._utterances
            and not self._utterances[-1].is_complete
        ):
            utterance = self._utterances[-1]
            utterance.is_complete = True
            utterance.ledger.complete(utterance.end)
            self._pacer.finish()
            self._later.append((self._pacer.end, utterance))
        self._later.append((self._pacer.end, frame))
        self._wake.set()

    async def _put(self, frame: OutputAudioRawFrame) -> None:
        if frame.sample_rate != self._sound.rate_hz or frame.num_channels != 1:
            raise ValueError(
                f"audio at {frame.sample_rate} Hz, {frame.num_channels} channels on a wire of {self._sound}"
            )
        while self._pacer.queued > self._longest_queue:
            self._room.clear()
            await self._room.wait()
        utterance = self._open()
        if utterance.start is None:
            utterance.start = self._pacer.end
        self._pacer.put(frame.audio)
        utterance.end = self._pacer.end
        self._wake.set()

    async def _play(self) -> None:
        try:
            is_going_on = True
            while is_going_on:
                self._wake.clear()
                async with self._gate:
                    await self._send()
                    is_going_on = await self._release(self._playout.settled(self._now_s()))
                    self._follow_sentences()
                if is_going_on:
                    await self._wait()
        except SocketClosed as closed:
            self._lost(closed)

    async def _send(self) -> None:
        if self._pacer.queued and self._playout.holds_background_only(self._now_s()):
            await self._take_back()
        for item in self._pacer.due(self._now_s()):
            if isinstance(item, str):
                await self._wire.mark(item)
                continue
            if self._recorder is not None:
                starts_s = self._playout.empty_at_s - len(item) / 2 / self._sound.rate_hz
                self._recorder.agent((starts_s - self._wire.opened_at_s) * 1000, item)
            await self._wire.play(item)
            await self._begin()
        if self._pacer.queued <= self._longest_queue:
            self._room.set()

    async def _take_back(self) -> None:
        """Speech does not wait behind background, nor for what a slow line has gathered of it."""
        now_s = self._now_s()
        self._playout.cleared(now_s)
        if self._recorder is not None:
            self._recorder.agent_cut((now_s - self._wire.opened_at_s) * 1000)
        await self._wire.clear()

    async def _begin(self) -> None:
        """Utterances whose first audio was just handed over have begun."""
        for utterance in self._utterances:
            if utterance.start is None or utterance.start >= self._playout.written:
                break
            if utterance.began_s is None:
                utterance.began_s = self._playout.begins_at_s(utterance.start)
                self._narrator.agent_began(utterance.turn)
                if not self._is_speaking:
                    self._is_speaking = True
                    await self.broadcast_frame(BotStartedSpeakingFrame)

    def _follow_sentences(self) -> None:
        """States each sentence that was begun `BEGUN_AFTER_S` ago."""
        now_s = self._now_s()
        position = self._playout.heard(now_s) - round(BEGUN_AFTER_S * self._sound.rate_hz)
        for utterance in self._utterances:
            if utterance.start is None or utterance.began_s is None or position <= utterance.start:
                break
            sentences = utterance.ledger.sentences
            begun = utterance.ledger.begun(position, utterance.end)
            begun_s = max(utterance.began_s, now_s - BEGUN_AFTER_S)
            for index in range(utterance.sentences_begun, begun):
                following = " ".join(sentences[index + 1 :])
                self._narrator.agent_sentence_began(sentences[index], following, utterance.turn, begun_s)
            utterance.sentences_begun = max(begun, utterance.sentences_begun)

    async def _release(self, settled: int) -> bool:
        """Lets happen what waited for ``settled``. False after the last frame of all."""
        while self._later and self._later[0][0] <= settled:
            _, item = self._later.popleft()
            if isinstance(item, Utterance):
                self._utterances.remove(item)
                await self._heard(item, item.end, item.ledger.text)
                await self._maybe_silent()
                continue
            if isinstance(item, HeardFrame):
                item.heard.set()
            await self.push_frame(item)
            if isinstance(item, EndFrame):
                return False
        return True

    async def _heard(self, utterance: Utterance, position: int, text: str) -> None:
        """The caller heard ``text`` of an utterance, up to ``position``."""
        if utterance.start is None or utterance.began_s is None or not text:
            return
        if utterance.is_kept:
            await self.push_frame(TTSTextFrame(text, TextType.SENTENCE))
        self._narrator.agent_said(
            text,
            utterance.turn,
            utterance.began_s,
            min(self._now_s(), utterance.began_s + (position - utterance.start) / self._sound.rate_hz),
            is_interrupted=position < utterance.end or not utterance.is_complete,
        )

    async def _maybe_silent(self) -> None:
        if self._is_speaking and not any(utterance.began_s for utterance in self._utterances):
            self._is_speaking = False
            await self.broadcast_frame(BotStoppedSpeakingFrame)

    async def _interrupt(self, frame: InterruptionFrame) -> None:
        async with self._gate:
            await self._cut_short()
            survivors = [item for _, item in self._later if isinstance(item, Frame) and not item.interruptible]
            self._later.clear()
            await self.push_frame(frame)
            await self._maybe_silent()
            self._later.extend((0, item) for item in survivors)
        self._wake.set()

    async def _cancel(self, frame: CancelFrame) -> None:
        await self._stop_playing()
        await self._cut_short()
        await self.push_frame(frame)

    async def _cut_short(self) -> None:
        """Silence at once; what was heard by now is all that was said."""
        now_s = self._now_s()
        is_playing = self._playout.ahead_s(now_s) > 0
        silent_from = self._playout.cleared(now_s)
        self._pacer.drop()
        self._room.set()
        if self._recorder is not None:
            self._recorder.agent_cut((now_s - self._wire.opened_at_s) * 1000)
        if is_playing:
            with suppress(SocketClosed):  # whoever reads the socket says so
                await self._wire.clear()
        utterances, self._utterances = self._utterances, deque()
        for utterance in utterances:
            position = min(silent_from, utterance.end)
            await self._heard(utterance, position, utterance.ledger.heard(position, utterance.end))
            if utterance.reply_id:
                heard_ms = (
                    0 if utterance.start is None else max(0, position - utterance.start) // self._sound.samples_per_ms
                )
                frame = HeardUntilFrame(utterance.reply_id, heard_ms)
                await self.push_frame(frame, FrameDirection.UPSTREAM)

    async def _wait(self) -> None:
        """Until something new comes, or until the next moment that matters."""
        moments = [self._pacer.due_at_s(self._now_s())]
        if self._later:
            moments.append(self._playout.settles_at_s(self._later[0][0]))
        due = [moment for moment in moments if moment is not None]
        loop = self.get_event_loop()
        alarm = loop.call_at(max(min(due), loop.time() + _SOON_S), self._wake.set) if due else None
        try:
            await self._wake.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _stop_playing(self) -> None:
        playing, self._playing = self._playing, None
        if playing is not None:
            await self.cancel_task(playing)

    def _now_s(self) -> float:
        return self.get_event_loop().time()
