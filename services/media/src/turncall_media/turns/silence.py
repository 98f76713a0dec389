"""The silence after which a caller's turn is over, counted from the caller's last sound."""

from dataclasses import dataclass

from pipecat.frames.frames import Frame, VADUserStoppedSpeakingFrame
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy


@dataclass
class VoiceEnded(VADUserStoppedSpeakingFrame):
    """The caller has been silent for ``silent_s`` already: the stop window, and what it took to notice."""

    silent_s: float = 0.0


class SilenceStop(SpeechTimeoutUserTurnStopStrategy):  # type: ignore[no-untyped-call]  # Pipecat leaves its hooks unannotated
    """Ends the caller's turn after ``longest_s`` of silence.

    Pipecat's own strategy counts from the moment at which the silence was noticed, which is as much later as the
    detector's windows and the carrier's frames make it.
    """

    def __init__(self, longest_s: float, stop_window_s: float) -> None:
        self._rest_s = max(0.0, longest_s - stop_window_s)
        super().__init__(user_speech_timeout=self._rest_s)
        self._longest_s = longest_s

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """See the class; words without a voice end a turn by what is left behind the stop window."""
        if isinstance(frame, VoiceEnded):
            self._user_speech_timeout = max(0.0, self._longest_s - frame.silent_s)
        try:
            return await super().process_frame(frame)
        finally:
            self._user_speech_timeout = self._rest_s
