"""Where the milliseconds of one reply go: a stopwatch with the moments of a turn as its buttons.

The line of a turn: the caller's voice ends; the transcript is final; the turn is decided to be over; the model's first
token; the first audio handed to the carrier. A moment that comes twice counts the first time.
"""

from msgspec import Struct


class TurnTimes(Struct, frozen=True, kw_only=True):
    """The parts of `turncall_proto.events.TurnMeasured`: endpointing, token and audio are neighbours and add up to the
    reply; the final transcript falls inside or after endpointing. Absent parts did not happen."""

    reply_ms: int
    endpointing_ms: int | None
    stt_final_ms: int | None
    llm_first_token_ms: int | None
    tts_first_audio_ms: int | None


class Stopwatch:
    """Measures one turn after the other; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._is_running = False
        self._silence_s: float | None = None
        self._final_s: float | None = None
        self._decided_s: float | None = None
        self._token_s: float | None = None

    def voice_ended(self, at_s: float) -> None:
        """The caller fell silent at ``at_s``, as found out later; a voice that comes back makes it count anew."""
        self._silence_s = at_s
        self._final_s = None

    def transcript_final(self, now_s: float) -> None:
        """The words are known."""
        self._final_s = now_s

    def turn_decided(self, now_s: float) -> None:
        """The caller's turn is over; the reply is asked for."""
        self._decided_s = now_s
        self._token_s = None
        self._is_running = True

    def first_token(self, now_s: float) -> None:
        """The model said something."""
        if self._is_running and self._token_s is None:
            self._token_s = now_s

    def first_audio(self, now_s: float) -> TurnTimes | None:
        """The reply began to reach the caller. None when no reply was waited for."""
        if not self._is_running or self._decided_s is None:
            return None
        began_s = self._decided_s if self._silence_s is None else self._silence_s
        times = TurnTimes(
            reply_ms=_ms(began_s, now_s),
            endpointing_ms=None if self._silence_s is None else _ms(began_s, self._decided_s),
            stt_final_ms=None if self._silence_s is None or self._final_s is None else _ms(began_s, self._final_s),
            llm_first_token_ms=None if self._token_s is None else _ms(self._decided_s, self._token_s),
            tts_first_audio_ms=None if self._token_s is None else _ms(self._token_s, now_s),
        )
        self.interrupted()
        return times

    def interrupted(self) -> None:
        """The reply will not come, or has come."""
        self._is_running = False
        self._silence_s = self._final_s = self._decided_s = self._token_s = None


def _ms(start_s: float, end_s: float) -> int:
    return max(0, round((end_s - start_s) * 1000))
