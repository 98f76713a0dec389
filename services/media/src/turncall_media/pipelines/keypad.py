"""Keys that a caller presses: once complete they are the caller's words, and where they are secret, stars.

What was entered is kept beside the conversation, for arguments that an agent's tools have bound to it.
"""

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import Frame, TranscriptionFrame
from pipecat.processors.aggregators.dtmf_aggregator import DTMFAggregator
from pipecat.processors.frame_processor import FrameDirection

from turncall_media.pipelines.story import KEYPAD_PREFIX
from turncall_proto.agent import Keypad

STAR = "*"


class Entry:
    """What the caller has entered last, without the key that completed it; empty before."""

    def __init__(self) -> None:
        self.keys = ""


class Keys(DTMFAggregator):
    """Makes keys the caller's words. One key alone is a choice, such as the answer to a question, and no secret."""

    def __init__(self, keypad: Keypad, entry: Entry) -> None:
        super().__init__(
            timeout=keypad.timeout_ms / 1000,
            termination_digit=KeypadEntry(keypad.terminator),
            prefix=KEYPAD_PREFIX,
            enable_direct_mode=True,
        )
        self._keypad = keypad
        self._entry = entry

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        """Keeps what was entered, before anybody sees it."""
        if isinstance(frame, TranscriptionFrame) and frame.text.startswith(KEYPAD_PREFIX):
            pressed = frame.text.removeprefix(KEYPAD_PREFIX)
            self._entry.keys = keys = pressed.removesuffix(self._keypad.terminator)
            if self._keypad.masked and len(keys) > 1:
                frame.text = KEYPAD_PREFIX + STAR * len(keys) + pressed[len(keys) :]
        await super().push_frame(frame, direction)
