"""What the carrier still has to play, and what the caller has heard."""

import pytest

from turncall_media.wire.playout import MARK_GRACE_S, Playout


def test_queue_plays_in_real_time() -> None:
    """A second of audio lasts a second, and nothing is ahead when it is over."""
    playout = Playout()
    playout.wrote(8000, 10.0)
    assert playout.ahead_s(10.25) == 0.75
    assert playout.ahead_s(12.0) == 0.0
    assert playout.ends_at_s(4000) == 10.5


def test_audio_after_a_pause_starts_a_new_run() -> None:
    """The carrier does not play the past: what is written late is played late."""
    playout = Playout()
    playout.wrote(800, 1.0)
    playout.wrote(800, 5.0)
    assert playout.ends_at_s(1600) == 5.1
    assert playout.ahead_s(5.05) == pytest.approx(0.05, abs=0.001)


def test_marks_say_what_was_heard() -> None:
    """The clock alone settles nothing; a mark settles all that lies before it."""
    playout = Playout()
    for name in ("a", "b"):
        playout.wrote(1600, 0.0)
        playout.marked(name)
    assert playout.settled(0.5) == 0
    assert playout.mark_returned("a", 0.5)
    assert playout.settled(0.5) == 1600


def test_late_mark_is_taken_for_played() -> None:
    """A mark that does not come back for `MARK_GRACE_S` is lost, not pending."""
    playout = Playout()
    playout.wrote(1600, 0.0)
    playout.marked("a")
    assert playout.settles_at_s(1600) == 0.2 + MARK_GRACE_S
    assert playout.settled(0.19 + MARK_GRACE_S) < 1600
    assert playout.settled(0.2 + MARK_GRACE_S) == 1600


def test_guess_lies_between_the_marks() -> None:
    """Past the last mark by the time since then, but never past a mark that has not come back."""
    playout = Playout()
    for name in ("a", "b", "c"):
        playout.wrote(1600, 0.0)
        playout.marked(name)
    playout.mark_returned("a", 0.25)  # 50 ms of network
    assert playout.heard(0.35) == 1600 + 800
    assert playout.heard(0.60) == 3200  # b has not come back


def test_clear_forgets_what_was_not_heard() -> None:
    """What comes back after a clear was not played, and new audio starts from there."""
    playout = Playout()
    for name in ("a", "b"):
        playout.wrote(1600, 0.0)
        playout.marked(name)
    playout.mark_returned("a", 0.2)
    assert playout.cleared(0.25) == 1600 + 400
    assert not playout.mark_returned("b", 0.26)
    assert playout.ahead_s(0.26) == 0.0
    playout.wrote(800, 0.30)
    assert playout.ends_at_s(playout.written) == 0.40


def test_mark_that_was_skipped_is_settled_by_a_later_one() -> None:
    """Marks come back in order; one that got lost is covered by the next."""
    playout = Playout()
    for name in ("a", "b"):
        playout.wrote(1600, 0.0)
        playout.marked(name)
    assert playout.mark_returned("b", 0.4)
    assert playout.settled(0.4) == 3200
    assert not playout.mark_returned("a", 0.5)


def test_background_is_no_speech() -> None:
    """It takes the carrier's time, and moves neither what was said nor what was heard of it."""
    playout = Playout()
    playout.filled(800, 0.0)  # 0.1 s
    playout.wrote(1600, 0.0)
    playout.marked("a")
    playout.filled(800, 0.2)
    playout.wrote(1600, 0.2)
    playout.marked("b")
    assert playout.written == 3200
    assert playout.begins_at_s(0) == 0.1
    assert playout.ends_at_s(1600) == pytest.approx(0.3)
    assert playout.begins_at_s(1600) == pytest.approx(0.4)
    assert playout.empty_at_s == pytest.approx(0.6)
    assert playout.heard(0.2) == 800
    playout.mark_returned("a", 0.3)
    assert playout.settled(0.35) == playout.heard(0.35) == 1600
    assert playout.heard(0.5) == 2400
    assert playout.cleared(0.5) == 2400
    assert playout.settled(0.5) == 3200


def test_background_behind_speech_that_was_heard_may_be_taken_back() -> None:
    """Not before its mark is back: what the caller has yet to hear of the agent would go with it."""
    playout = Playout()
    assert not playout.holds_background_only(0.0)
    playout.filled(800, 0.0)
    assert playout.holds_background_only(0.05)
    assert not playout.holds_background_only(0.1)
    playout.wrote(1600, 0.1)
    playout.marked("a")
    assert not playout.holds_background_only(0.1)
    playout.filled(800, 0.25)
    assert not playout.holds_background_only(0.35)
    playout.mark_returned("a", 0.36)
    assert playout.holds_background_only(0.37)


def test_background_of_hours_leaves_nothing_behind() -> None:
    """What was said long ago is not kept."""
    playout = Playout()
    for second in range(2000):
        playout.filled(800, float(second))
        playout.wrote(800, float(second))
    assert playout.written == 2000 * 800
    assert len(playout._stretches) <= 4
