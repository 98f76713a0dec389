"""The queue between what a server sends and what a caller hears."""

import numpy as np

from turncall_phone.playout import FRAME_SAMPLES, Playout


def ramp(length: int) -> np.ndarray:
    """Samples that tell their own position."""
    return np.arange(1, length + 1, dtype=np.int16)


def test_audio_plays_in_order_across_chunks_of_any_size() -> None:
    """Chunks of odd sizes come out as full frames, the last one padded with silence."""
    playout = Playout()
    for size in (7, 200, 1):
        playout.feed(ramp(size))

    first, second, third = playout.take(), playout.take(), playout.take()

    assert first is not None
    assert second is not None
    assert third is None
    together = np.concatenate([ramp(7), ramp(200), ramp(1)])
    assert np.array_equal(np.concatenate([first, second])[: len(together)], together)
    assert not np.concatenate([first, second])[len(together) :].any()


def test_a_mark_with_nothing_playing_is_due_at_once() -> None:
    """An empty queue returns a mark without waiting for a frame."""
    assert Playout().mark("now") is True


def test_a_mark_comes_back_when_its_sample_has_been_played() -> None:
    """A mark behind a frame and a half is due after the second frame, not before."""
    playout = Playout()
    playout.feed(ramp(FRAME_SAMPLES + FRAME_SAMPLES // 2))

    assert playout.mark("end") is False
    due = []
    for _ in range(3):
        due.append(playout.due_marks())
        playout.take()

    assert due == [(), (), ("end",)]


def test_a_mark_behind_the_last_frame_waits_until_that_frame_is_heard() -> None:
    """With an empty queue but a frame in the air, the mark is due when the frame ends."""
    playout = Playout()
    playout.feed(ramp(FRAME_SAMPLES))
    playout.take()

    assert playout.mark("tail") is False
    assert playout.due_marks() == ("tail",)


def test_marks_between_chunks_come_back_in_order_at_their_own_frames() -> None:
    """Each mark is due with the frame in which its audio ends."""
    playout = Playout()
    for name in ("one", "two", "three"):
        playout.feed(ramp(FRAME_SAMPLES))
        playout.mark(name)

    due = []
    for _ in range(4):
        due.append(playout.due_marks())
        playout.take()

    assert due == [(), ("one",), ("two",), ("three",)]


def test_clear_drops_the_queue_and_returns_every_mark() -> None:
    """After a clear nothing more plays, all outstanding marks are handed back, and none comes twice."""
    playout = Playout()
    playout.feed(ramp(10 * FRAME_SAMPLES))
    playout.mark("a")
    playout.mark("b")
    playout.take()

    assert playout.clear() == ("a", "b")
    assert playout.due_marks() == ()
    assert playout.take() is None
    assert playout.is_idle


def test_what_exceeds_the_capacity_is_dropped_and_counted() -> None:
    """A full queue keeps what it has, says how much it dropped, and has room again after playing."""
    playout = Playout(capacity_samples=2 * FRAME_SAMPLES)

    assert playout.feed(ramp(2 * FRAME_SAMPLES + 5)) == 5
    assert playout.feed(ramp(1)) == 1
    playout.take()
    assert playout.feed(ramp(FRAME_SAMPLES)) == 0
    assert playout.queued_samples == 2 * FRAME_SAMPLES
