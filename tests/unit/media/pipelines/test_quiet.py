"""When nothing happens on a call, to the model's replies that pass between two looks."""

import asyncio
from typing import Any

import pytest
from pipecat.frames.frames import Frame, LLMFullResponseEndFrame, LLMFullResponseStartFrame
from pipecat.processors.frame_processor import FrameProcessor

from turncall_media.pipelines.mute import Mute
from turncall_media.pipelines.quiet import quiet
from turncall_media.pipelines.speaking import HeardFrame
from turncall_media.pipelines.speech import ModelSpeech, Speech
from turncall_testkit import virtual_time

SPOKEN_S = 4.0


class Mouth(FrameProcessor):
    """What is said behind it is heard ``SPOKEN_S`` after the model wrote it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard_at_s = 0.0

    async def push_frame(self, frame: Frame, *_: Any) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(frame, HeardFrame):
            loop.call_at(max(loop.time(), self.heard_at_s), frame.heard.set)


class Narrator:
    """Nobody speaks and no tool is at work."""

    is_busy = is_behind = False


@pytest.mark.parametrize("kind", [Speech, ModelSpeech])
def test_a_reply_that_is_written_at_once_is_waited_for(kind: type[Speech]) -> None:
    """It begins and ends between two looks; the silence still counts from when the caller has heard it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        speech = kind(Mute())
        speech.mouth = mouth = Mouth()

        def reply() -> None:
            speech.notice(LLMFullResponseStartFrame())
            speech.notice(LLMFullResponseEndFrame())
            mouth.heard_at_s = loop.time() + SPOKEN_S

        loop.call_later(1.01, reply)
        await quiet(speech, Narrator(), 2.0)  # type: ignore[arg-type]  # as much of one as it looks at
        assert loop.time() >= 1.01 + SPOKEN_S + 2.0

    virtual_time.run(main())
