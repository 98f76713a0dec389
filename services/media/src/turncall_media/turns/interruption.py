"""Which of the caller's sounds count while the agent speaks: enough words, or none at all."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_mute import BaseUserMuteStrategy
from pipecat.turns.user_start import BaseUserTurnStartStrategy


class EnoughWords(BaseUserTurnStartStrategy):  # type: ignore[no-untyped-call]  # Pipecat leaves its hooks unannotated
    """Begins the caller's turn with ``min_words`` words while the agent speaks, and with a voice or a word otherwise.

    Fewer words ("uh-huh") are forgotten. Pipecat's own strategy never takes a voice for a turn, so that an agent that
    still thinks would be interrupted later than it could be.
    """

    def __init__(self, min_words: int) -> None:
        super().__init__()
        self._min_words = min_words
        self._is_agent_speaking = False

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """See the class."""
        match frame:
            case BotStartedSpeakingFrame():
                self._is_agent_speaking = True
            case BotStoppedSpeakingFrame():
                self._is_agent_speaking = False
            case VADUserStartedSpeakingFrame() if not self._is_agent_speaking:
                await self.trigger_user_turn_started()
                return ProcessFrameResult.STOP
            case TranscriptionFrame() | InterimTranscriptionFrame():
                if len(frame.text.split()) >= (self._min_words if self._is_agent_speaking else 1):
                    await self.trigger_user_turn_started()
                    return ProcessFrameResult.STOP
                await self.trigger_reset_aggregation()  # type: ignore[no-untyped-call]  # the same
        return ProcessFrameResult.CONTINUE


class Protection(BaseUserMuteStrategy):
    """Has the caller unheard until it is lifted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Pipecat leaves it unannotated
        self.is_lifted = False

    async def process_frame(self, frame: Frame) -> bool:
        """Whether the caller goes unheard."""
        return not self.is_lifted


@contextmanager
def lifted(protection: Protection | None) -> Iterator[None]:
    """The caller is heard within, whatever is protected afterwards."""
    if protection is None:
        yield
        return
    protection.is_lifted = True
    try:
        yield
    finally:
        protection.is_lifted = False
