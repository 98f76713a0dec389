"""A stopwatch with the moments of a turn as its buttons."""

from turncall_media.report.measure import Stopwatch, TurnTimes


def test_parts_add_up_to_the_reply() -> None:
    """Silence, decision, token and audio are neighbours; the transcript falls in between."""
    watch = Stopwatch()
    watch.voice_ended(10.0)
    watch.transcript_final(10.25)
    watch.turn_decided(10.6)
    watch.first_token(10.9)
    watch.first_token(11.0)
    assert watch.first_audio(11.0) == TurnTimes(
        reply_ms=1000, endpointing_ms=600, stt_final_ms=250, llm_first_token_ms=300, tts_first_audio_ms=100
    )
    assert watch.first_audio(12.0) is None


def test_voice_that_comes_back_counts_anew() -> None:
    """The caller waits from the last word, not from a pause before it."""
    watch = Stopwatch()
    watch.voice_ended(1.0)
    watch.transcript_final(1.1)
    watch.voice_ended(3.0)
    watch.turn_decided(3.6)
    times = watch.first_audio(4.0)
    assert times is not None
    assert (times.reply_ms, times.stt_final_ms, times.llm_first_token_ms) == (1000, None, None)


def test_turn_without_a_voice_is_measured_from_its_decision() -> None:
    """Keys have no end of speech."""
    watch = Stopwatch()
    watch.turn_decided(1.0)
    times = watch.first_audio(1.5)
    assert times is not None
    assert (times.reply_ms, times.endpointing_ms) == (500, None)


def test_greeting_and_interrupted_replies_are_no_measures() -> None:
    """Only a reply that was waited for and came counts."""
    watch = Stopwatch()
    assert watch.first_audio(1.0) is None
    watch.turn_decided(2.0)
    watch.interrupted()
    assert watch.first_audio(3.0) is None
