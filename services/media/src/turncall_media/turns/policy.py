"""From an agent's turn taking to Pipecat's turn strategies and our voice detector.

The silence that ends a turn has two parts: the detector's stop window, which finds that the voice ended, and the rest,
in which words may still come. Together they last ``silence_timeout_ms`` from the caller's last sound.
"""

from functools import partial
from typing import Final

from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregatorParams
from pipecat.turns.user_mute import AlwaysUserMuteStrategy, BaseUserMuteStrategy
from pipecat.turns.user_start import (
    BaseUserTurnStartStrategy,
    TranscriptionUserTurnStartStrategy,
    VADUserTurnStartStrategy,
)
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from turncall_media.audio.sound import TELEPHONE, Sound
from turncall_media.turns import smart
from turncall_media.turns.interruption import EnoughWords, Protection
from turncall_media.turns.silence import SilenceStop
from turncall_media.turns.voice import VoiceSettings
from turncall_proto.agent import TurnTaking

STOP_WINDOW_MS: Final = 200
"""What speech services expect before they are asked for a final transcript (Pipecat's own figure)."""
LOST_TRANSCRIPT_S: Final = 3.0
"""A voice without words, such as a cough: how long the turn waits for a transcript that does not come."""

LATE_TRANSCRIPT_S: Final = 1.0
"""Behind a silence timeout that is longer than that."""


def voice_settings(taking: TurnTaking) -> VoiceSettings:
    """How the detector decides."""
    return VoiceSettings(
        confidence=taking.vad_confidence,
        start_ms=taking.vad_start_ms,
        stop_ms=min(STOP_WINDOW_MS, taking.silence_timeout_ms),
    )


def words(taking: TurnTaking, sound: Sound = TELEPHONE) -> smart.Words | None:
    """Where the caller's voice is kept for the model that judges ends of turns; None if none is asked."""
    if taking.end_of_turn == "silence":
        return None
    smart.warm(sound.rate_hz)
    return smart.Words(sound)


def user_params(
    taking: TurnTaking,
    protection: Protection | None = None,
    words: smart.Words | None = None,
    *,
    waits_for_words: bool = True,
) -> LLMUserAggregatorParams:
    """When the caller's turn begins and ends, and whether the caller is heard while the agent speaks.

    Under ``protection`` the caller is not heard at all until it is lifted. ``words`` are what a model judges. Unless it
    ``waits_for_words``, a voice alone makes a turn.
    """
    mutes: list[BaseUserMuteStrategy] = [] if protection is None else [protection]
    if not taking.barge_in:
        mutes.append(AlwaysUserMuteStrategy())  # type: ignore[no-untyped-call]  # Pipecat leaves it unannotated
    longest_s, window_s = taking.silence_timeout_ms / 1000, STOP_WINDOW_MS / 1000
    stop = (
        SilenceStop(longest_s, window_s)
        if words is None
        else smart.SmartStop(longest_s, window_s, words, partial(smart.is_done, rate_hz=words.sound.rate_hz))
    )
    stop.wait_for_transcript = waits_for_words
    params = LLMUserAggregatorParams(
        user_turn_strategies=UserTurnStrategies(start=_starts(taking.min_words), stop=[stop]),
        user_mute_strategies=mutes,
        user_turn_stop_timeout=max(LOST_TRANSCRIPT_S, longest_s - window_s + LATE_TRANSCRIPT_S),
    )
    if not waits_for_words:
        params.empty_user_turn = None  # whoever hears for itself has words, or nothing to say to a cough
    return params


def _starts(min_words: int) -> list[BaseUserTurnStartStrategy]:
    if min_words:
        return [EnoughWords(min_words)]
    return [VADUserTurnStartStrategy(), TranscriptionUserTurnStartStrategy()]
