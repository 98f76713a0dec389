"""What the agent says besides the model's replies, and when it has said it all."""

import asyncio
from collections.abc import Callable

from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSSpeakFrame,
)
from pipecat.processors.frame_processor import FrameProcessor

from turncall_media.pipelines.aloud import plain
from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.speaking import HeardFrame, SoundFrame
from turncall_media.stages.exchange import SaidFrame, SayFrame


class Speech:
    """Speaks through ``mouth``, the processor just before the voice. `notice` gets all that passes there.

    ``overhears`` is told of it, too.
    """

    def __init__(self, mute: Mute, overhears: Callable[[Frame], None] | None = None) -> None:
        self._mute = mute
        self._overhears = overhears
        self.mouth: FrameProcessor | None = None
        self.lines = 0  # begun so far, the model's replies among them: one may pass between two looks
        self.has_model_spoken = False  # in its latest reply
        self._no_reply_under_way = asyncio.Event()
        self._no_reply_under_way.set()

    @property
    def is_reply_under_way(self) -> bool:
        """Whether the model is writing."""
        return not self._no_reply_under_way.is_set()

    def notice(self, frame: Frame) -> None:
        """Follows the model's replies."""
        self._overheard(frame)
        if isinstance(frame, LLMFullResponseStartFrame):
            self.lines += 1
            self._no_reply_under_way.clear()
            self.has_model_spoken = False
        elif isinstance(frame, LLMTextFrame):
            self.has_model_spoken = self.has_model_spoken or bool(frame.text.strip())
        elif isinstance(frame, LLMFullResponseEndFrame | InterruptionFrame):
            self._no_reply_under_way.set()

    @property
    def is_muted(self) -> bool:
        """Whether a person has silenced the agent."""
        return self._mute.is_on

    async def say(self, text: str, *, is_kept: bool, is_ordered: bool = False) -> None:
        """Has ``text`` spoken behind what is being said. ``is_kept``: the model is to remember it.

        A muted agent says only what it is ordered to say.
        """
        if self.is_muted and not is_ordered:
            return
        self.lines += 1
        await self._push(TTSSpeakFrame(text, append_to_context=is_kept))

    async def play(self, pcm: bytes) -> None:
        """Has sound (mono s16le, 8 kHz) played behind what is being said."""
        self.lines += 1
        await self._push(SoundFrame(pcm=pcm))

    async def written(self) -> None:
        """Returns when the model is not writing; what it wrote may still be spoken."""
        await self._no_reply_under_way.wait()

    async def apologise(self, text: str) -> None:
        """Has ``text`` spoken when the vendor of another stage is lost for good."""
        await self.say(text, is_kept=False)

    async def heard(self) -> None:
        """Returns when the caller has heard all that is being said, or has interrupted it."""
        await self.written()
        behind = HeardFrame()
        await self._push(behind)
        await behind.heard.wait()

    def _overheard(self, frame: Frame) -> None:
        if self._overhears is not None:
            self._overhears(frame)

    async def _push(self, frame: Frame) -> None:
        assert self.mouth is not None  # set when the pipeline is put together
        await self.mouth.push_frame(frame)


class ModelSpeech(Speech):
    """Speaks through the model itself: ``prompter`` is the processor just before it, ``mouth`` the one just behind it.

    `notice` gets what comes out of the model, and interruptions as they go in.
    """

    def __init__(self, mute: Mute, overhears: Callable[[Frame], None] | None = None) -> None:
        super().__init__(mute, overhears)
        self.prompter: FrameProcessor | None = None
        self._owed = 0  # replies that were asked for and are not complete

    def asked(self) -> None:
        """A reply of the model is asked for."""
        self._owed += 1
        self._no_reply_under_way.clear()

    def notice(self, frame: Frame) -> None:
        """Follows the model's replies; a model may also speak unasked."""
        self._overheard(frame)
        if isinstance(frame, LLMFullResponseStartFrame):
            self.lines += 1
            self._owed = max(1, self._owed)
            self._no_reply_under_way.clear()
            self.has_model_spoken = False
        elif isinstance(frame, SaidFrame):
            self.has_model_spoken = True
        elif isinstance(frame, LLMFullResponseEndFrame | InterruptionFrame):
            self._owed = 0 if isinstance(frame, InterruptionFrame) else max(0, self._owed - 1)
            if not self._owed:
                self._no_reply_under_way.set()

    async def say(self, text: str, *, is_kept: bool, is_ordered: bool = False) -> None:
        """As in a cascade, in the model's voice."""
        text = plain(text)
        if not text or (self.is_muted and not is_ordered):
            return
        assert self.prompter is not None  # set when the pipeline is put together
        self.lines += 1
        self.asked()
        await self.prompter.push_frame(SayFrame(text, is_kept))

    async def play(self, pcm: bytes) -> None:
        """Has sound played behind what the model is saying, once it has said it."""
        await self.written()
        await super().play(pcm)

    async def apologise(self, text: str) -> None:
        """Has ``text`` spoken by another voice: the model is lost."""
        self._owed = 0
        self._no_reply_under_way.set()
        self.lines += 1
        await self._push(TTSSpeakFrame(text, append_to_context=False))
