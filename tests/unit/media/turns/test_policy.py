"""From an agent's turn taking to what decides it."""

import pytest
from pipecat.frames.frames import TranscriptionFrame

from turncall_media.turns import policy
from turncall_media.turns.silence import VoiceEnded
from turncall_proto.agent import TurnTaking


@pytest.mark.parametrize(("silence_ms", "window_ms", "rest_s"), [(100, 100, 0), (200, 200, 0), (600, 200, 0.4)])
def test_windows_add_up_to_the_silence_timeout(silence_ms: int, window_ms: int, rest_s: float) -> None:
    """What the detector waits and what the turn waits after it are together what was configured."""
    taking = TurnTaking(silence_timeout_ms=silence_ms)
    assert policy.voice_settings(taking).stop_ms == window_ms
    (stop,) = policy.user_params(taking).user_turn_strategies.stop  # type: ignore[union-attr, misc]
    assert stop._user_speech_timeout == pytest.approx(rest_s)


@pytest.mark.parametrize(("silent_s", "waits_s"), [(0.2, 0.4), (0.25, 0.35), (0.9, 0.0)])
async def test_silence_is_counted_from_the_last_sound(
    silent_s: float, waits_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it took to notice that the voice ended is not waited for once more; words without a voice are."""
    (stop,) = policy.user_params(TurnTaking(silence_timeout_ms=600)).user_turn_strategies.stop  # type: ignore[union-attr, misc]
    waited_s: list[float] = []

    async def restart() -> None:
        waited_s.append(stop._user_speech_timeout)

    monkeypatch.setattr(stop, "_restart_user_speech_timer", restart)
    await stop.process_frame(VoiceEnded(stop_secs=0.2, silent_s=silent_s))
    await stop.handle_user_turn_stopped()
    await stop.process_frame(TranscriptionFrame("Hello", "caller", "now"))
    assert waited_s == pytest.approx([waits_s, 0.4])


@pytest.mark.proves("agent.turn_taking.vad_confidence", "agent.turn_taking.vad_start_ms")
def test_detector_gets_the_agents_own_figures() -> None:
    """Confidence and start window are the agent's."""
    settings = policy.voice_settings(TurnTaking(vad_confidence=0.42, vad_start_ms=340))
    assert (settings.confidence, settings.start_ms) == (0.42, 340)


def test_caller_is_muted_only_without_barge_in() -> None:
    """barge_in decides whether the caller is listened to while the agent speaks."""
    assert policy.user_params(TurnTaking(barge_in=True)).user_mute_strategies == []
    assert len(policy.user_params(TurnTaking(barge_in=False)).user_mute_strategies) == 1
