"""The caller's side of a pipeline: from the wire's events to frames."""

import asyncio
from collections.abc import Callable
from typing import Final

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    StartFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from turncall_media.audio.noise import NoiseFilter
from turncall_media.audio.sound import Sound
from turncall_media.errors import WireError
from turncall_media.pipelines.ending import StreamEnd
from turncall_media.report.events import Narrator
from turncall_media.report.recorder import Recorder
from turncall_media.seams import SocketClosed
from turncall_media.turns.fragment import Fragment
from turncall_media.turns.silence import VoiceEnded
from turncall_media.turns.smart import Words
from turncall_media.turns.voice import VoiceChange, VoiceDetector
from turncall_media.wire.stream import CallerAudio, KeyPressed, MarkReturned, StreamStopped, Wire

JOIN_MS: Final = 60
"""Carriers send 20 ms at a time; three of them in one frame cost a third of the queue hops. The voice detector works on
each as it comes, and a change of voice sends what is joined so far, so no turn waits for it."""
QUIET_JOIN_MS: Final = 240
"""The same while nobody speaks, which is most of a call: nobody waits for what a vendor makes of silence."""
STALL_S: Final = 1.0
"""Without audio for this long, whoever was speaking is taken to be silent."""

_KEYPAD: Final = frozenset(key.value for key in KeypadEntry)
"""Telephones have no A to D; Pipecat has no word for them."""


class CallerInput(FrameProcessor):
    """Reads the wire while the pipeline runs; says once, through ``ended``, how the stream ended.

    Runs within its neighbours (direct mode): its own reading task pushes the frames. ``marks`` gets each mark that the
    carrier returned. ``is_midway``: another worker had the call before. ``words`` gets what is to be heard, if given.
    What is passed on goes through ``noise``, if given.
    """

    def __init__(
        self,
        wire: Wire,
        voice: VoiceDetector,
        recorder: Recorder | None,
        narrator: Narrator,
        marks: Callable[[str], None],
        ended: Callable[[StreamEnd], None],
        *,
        is_midway: bool,
        words: Words | None = None,
        noise: NoiseFilter | None = None,
    ) -> None:
        super().__init__(name="CallerInput", enable_direct_mode=True)
        self._wire = wire
        self._bytes_per_ms = wire.sound.bytes_per_ms
        self._voice = voice
        self._recorder = recorder
        self._narrator = narrator
        self._marks = marks
        self._ended = ended
        self._fragment = Fragment(voice.settings.start_ms, wire.sound, is_midway=is_midway)
        self._words = words
        self._noise = noise
        self._joined = bytearray()
        self._fed_ms = 0.0
        self._offset_ms = 0.0  # the audio clock ahead of what was fed: gaps, and a stream that began with silence
        self._last_audio_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def sound(self) -> Sound:
        """What the wire carries."""
        return self._wire.sound

    @property
    def is_cut_off(self) -> bool:
        """Whether the caller was speaking when this worker began to listen; known half a second later."""
        return self._fragment.is_found

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Starts to read after the start frame has passed, stops at the last one."""
        await super().process_frame(frame, direction)
        if isinstance(frame, CancelFrame | EndFrame):
            await self._stop()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._tasks = [self.create_task(self._read()), self.create_task(self._watch_for_stalls())]

    async def cleanup(self) -> None:
        """Stops reading."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it unannotated
        await self._stop()

    async def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await self.cancel_task(task)

    async def _read(self) -> None:
        try:
            while True:
                match await self._wire.receive():
                    case CallerAudio() as audio:
                        await self._hear(audio)
                    case MarkReturned(name=name):
                        self._marks(name)
                    case KeyPressed(digit=digit):
                        self._narrator.key_pressed(digit)
                        if digit in _KEYPAD:
                            await self.push_frame(InputDTMFFrame(KeypadEntry(digit)))
                    case StreamStopped() as stopped:
                        self._ended(stopped)
                        return
        except (SocketClosed, WireError) as end:
            self._ended(end)

    async def _hear(self, audio: CallerAudio) -> None:
        if self._recorder is not None:
            self._recorder.caller(audio.timestamp_ms, audio.pcm)
        self._last_audio_s = self.get_event_loop().time()
        self._offset_ms = audio.timestamp_ms - self._fed_ms
        self._fed_ms += len(audio.pcm) / self._bytes_per_ms
        self._narrator.listened(audio.timestamp_ms + len(audio.pcm) / self._bytes_per_ms)
        noticed = list(self._voice.feed(audio.pcm))
        for change in noticed:
            self._note(change)
        pcm, changes = self._fragment.take(audio.pcm, noticed)
        if self._words is not None:
            self._words.hear(pcm)
        self._joined += pcm
        longest_ms = JOIN_MS if self._voice.is_speaking else QUIET_JOIN_MS
        if changes or len(self._joined) >= longest_ms * self._bytes_per_ms:
            await self._pass_on()
        for change in changes:
            await self._tell(change)

    async def _pass_on(self) -> None:
        pcm, self._joined = bytes(self._joined), bytearray()
        if self._noise is not None:
            pcm = self._noise.take(pcm)
        if pcm:
            await self.push_frame(InputAudioRawFrame(audio=pcm, sample_rate=self.sound.rate_hz, num_channels=1))

    def _note(self, change: VoiceChange) -> None:
        at_ms = max(0, round(change.at_ms + self._offset_ms))
        if change.kind == "began":
            self._narrator.voice_began(at_ms)
        else:
            self._narrator.voice_ended(at_ms, change.late_ms)

    async def _tell(self, change: VoiceChange) -> None:
        settings = self._voice.settings
        if change.kind == "began":
            await self.push_frame(VADUserStartedSpeakingFrame(start_secs=settings.start_ms / 1000))
        else:
            ended = VoiceEnded(stop_secs=settings.stop_ms / 1000, silent_s=change.late_ms / 1000)
            await self.push_frame(ended)

    async def _watch_for_stalls(self) -> None:
        """A carrier that stops sending in the middle of a word would leave the turn open for ever."""
        while True:
            await asyncio.sleep(STALL_S)
            if self.get_event_loop().time() - self._last_audio_s < STALL_S:
                continue
            change = self._voice.stall()
            if change is None:
                continue
            self._note(change)
            pcm, changes = self._fragment.take(b"", [change])
            self._joined += pcm
            await self._pass_on()
            for told in changes:
                await self._tell(told)
