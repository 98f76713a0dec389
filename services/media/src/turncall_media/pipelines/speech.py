"""What the agent says besides the model's replies, and when it has said it all."""

import asyncio

from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSSpeakFrame,
)
from pipecat.processors.frame_processor import FrameProcessor

from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.speaking import HeardFrame, SoundFrame


class Speech:
    """Speaks through ``mouth``, the processor just before the voice. `notice` gets all that passes there."""

    def __init__(self, mute: Mute) -> None:
        self._mute = mute
        self.mouth: FrameProcessor | None = None
        self.lines = 0  # said so far, besides the model's replies
        self.has_model_spoken = False  # in its latest reply
        self._no_reply_under_way = asyncio.Event()
        self._no_reply_under_way.set()

    @property
    def is_reply_under_way(self) -> bool:
        """Whether the model is writing."""
        return not self._no_reply_under_way.is_set()

    def notice(self, frame: Frame) -> None:
        """Follows the model's replies."""
        if isinstance(frame, LLMFullResponseStartFrame):
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

    async def heard(self) -> None:
        """Returns when the caller has heard all that is being said, or has interrupted it."""
        await self.written()
        behind = HeardFrame()
        await self._push(behind)
        await behind.heard.wait()

    async def _push(self, frame: Frame) -> None:
        assert self.mouth is not None  # set when the pipeline is put together
        await self.mouth.push_frame(frame)
