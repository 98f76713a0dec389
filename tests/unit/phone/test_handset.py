"""What reaches a caller's ear, and when."""

import pytest

from turncall_phone.handset import Handset

HUNDRED_MS = bytes(800)


def test_audio_in_time_is_one_utterance_without_lateness() -> None:
    """Two messages at once and a third before the second is played out: nothing is late, and nothing is missing."""
    handset = Handset()
    for at_s in (1.0, 1.0, 1.15):
        handset.hear(HUNDRED_MS, at_s)

    (utterance,) = handset.utterances
    assert utterance.began_s == 1.0
    assert bytes(utterance.codes) == 3 * HUNDRED_MS
    assert [(piece.late_ms, piece.gap_ms) for piece in utterance.pieces] == [(0.0, 0.0), (0.0, 0.0)]


def test_a_gap_is_heard_once_and_lateness_stays() -> None:
    """A message 50 ms late leaves a gap; the next one, as late as that, is late again but follows without a gap."""
    handset = Handset()
    for at_s in (1.0, 1.15, 1.25):
        handset.hear(HUNDRED_MS, at_s)

    (utterance,) = handset.utterances
    assert [piece.late_ms for piece in utterance.pieces] == pytest.approx([50.0, 50.0])
    assert [piece.gap_ms for piece in utterance.pieces] == pytest.approx([50.0, 0.0], abs=1e-6)


def test_what_comes_after_a_silence_is_another_utterance() -> None:
    """More than half a second with nothing to play ends an utterance."""
    handset = Handset()
    handset.hear(HUNDRED_MS, 1.0)
    handset.hear(HUNDRED_MS, 1.7)

    assert [utterance.began_s for utterance in handset.utterances] == [1.0, 1.7]


def test_marks_come_back_when_their_audio_was_played() -> None:
    """Behind 100 ms of audio a mark is due 100 ms later, and only once."""
    handset = Handset()
    handset.mark("nothing played")
    handset.hear(HUNDRED_MS, 1.0)
    handset.mark("played")

    assert handset.marks_due(1.05) == ["nothing played"]
    assert handset.marks_due(1.11) == ["played"]
    assert handset.marks_due(1.2) == []


def test_a_clear_cuts_what_was_not_played_and_returns_every_mark() -> None:
    """The utterance is told as cut; audio that comes next is in time again."""
    handset = Handset()
    handset.hear(5 * HUNDRED_MS, 1.0)
    handset.mark("end")
    handset.clear(1.1)
    handset.hear(HUNDRED_MS, 1.2)

    assert handset.utterances[0].is_cut
    assert handset.marks_due(1.2) == ["end"]


def test_a_clear_behind_the_end_cuts_nothing() -> None:
    """What was heard to its end was not cut."""
    handset = Handset()
    handset.hear(HUNDRED_MS, 1.0)
    handset.clear(1.2)

    assert not handset.utterances[0].is_cut
