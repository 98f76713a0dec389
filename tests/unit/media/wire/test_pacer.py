"""Audio leaves a little ahead of real time, with marks, on a clock that the test owns."""

import pytest

from turncall_media.audio.ambience import Ambience
from turncall_media.wire.pacer import BACKGROUND_LEAD_S, LEAD_S, MARK_EVERY_MS, Pacer
from turncall_media.wire.playout import Playout

MS = 16  # bytes


def a_pacer() -> tuple[Pacer, Playout]:
    """A pacer and the queue that it fills."""
    playout = Playout()
    return Pacer(playout), playout


def seconds(items: list[bytes | str]) -> float:
    """How much audio is among ``items``."""
    return sum(len(item) for item in items if isinstance(item, bytes)) / 16000


def test_first_audio_leaves_at_once() -> None:
    """The first frame, however short, does not wait for more."""
    pacer, _ = a_pacer()
    assert pacer.due_at_s(5.0) is None
    pacer.put(bytes(20 * MS))
    assert pacer.due_at_s(5.0) == 5.0
    assert seconds(list(pacer.due(5.0))) == 0.02


def test_lead_is_kept_and_not_passed() -> None:
    """Over a long reply the carrier always holds between 0.3 and 0.4 s, in a message for each tenth of a second."""
    pacer, playout = a_pacer()
    pacer.put(bytes(10_000 * MS))
    now_s, messages = 0.0, 0
    while pacer.queued:
        sent = list(pacer.due(now_s))
        messages += sum(isinstance(item, bytes) for item in sent)
        assert playout.ahead_s(now_s) <= LEAD_S + 0.001
        due_s = pacer.due_at_s(now_s)
        if due_s is None:
            break
        assert due_s > now_s
        assert playout.ahead_s(due_s) >= LEAD_S - 0.101
        now_s = due_s
    assert now_s == pytest.approx(10.0 - LEAD_S, abs=0.02)
    assert messages <= 160


def test_late_loop_catches_up() -> None:
    """After a stall shorter than the lead, the caller has heard no gap and the lead is filled again."""
    pacer, playout = a_pacer()
    pacer.put(bytes(2000 * MS))
    list(pacer.due(0.0))
    assert playout.ahead_s(0.39) > 0
    assert seconds(list(pacer.due(0.39))) == pytest.approx(0.39, abs=0.001)


def test_marks_come_every_fifth_of_a_second_and_at_the_end() -> None:
    """It is known to 0.2 s what was heard, and exactly when an utterance was heard to its end."""
    pacer, playout = a_pacer()
    pacer.put(bytes(450 * MS))
    pacer.finish()
    items = [item for now_s in (0.0, 0.2) for item in pacer.due(now_s)]
    positions, position = [], 0
    for item in items:
        if isinstance(item, str):
            positions.append(position)
        else:
            position += len(item) // 2
    assert positions == [8 * MARK_EVERY_MS, 16 * MARK_EVERY_MS, 3600]
    assert len({item for item in items if isinstance(item, str)}) == 3
    assert pacer.due_at_s(0.2) is None
    assert playout.written == 3600


def test_dropped_audio_never_leaves() -> None:
    """After an interruption only new audio is sent."""
    pacer, playout = a_pacer()
    pacer.put(bytes(5000 * MS))
    list(pacer.due(0.0))
    pacer.drop()
    playout.cleared(0.1)
    assert list(pacer.due(0.1)) == []
    pacer.put(b"\x01\x00" * 80)
    assert list(pacer.due(0.1)) == [b"\x01\x00" * 80]


def test_pieces_of_any_size_keep_their_order() -> None:
    """Audio arrives in frames of the vendor's choosing and leaves in messages of ours, sample by sample the same."""
    pacer, _ = a_pacer()
    whole = b"".join(sample.to_bytes(2, "little") for sample in range(6000))
    start = 0
    for size in (2, 6, 3998, 320, 7674):
        pacer.put(whole[start : start + size])
        start += size
    sent = bytearray()
    now_s = 0.0
    while (due_s := pacer.due_at_s(now_s)) is not None:
        now_s = due_s
        sent += b"".join(item for item in pacer.due(now_s) if isinstance(item, bytes))
    assert sent == whole


def test_background_fills_the_silence_without_marks() -> None:
    """The carrier never runs out and never holds much; no mark stands for background."""
    playout = Playout()
    pacer = Pacer(playout, Ambience("office", 0.5))
    now_s, items = 0.0, []
    while now_s < 2.0:
        items += list(pacer.due(now_s))
        assert playout.ahead_s(now_s) <= BACKGROUND_LEAD_S + 0.001
        due_s = pacer.due_at_s(now_s)
        assert due_s is not None
        assert due_s > now_s
        assert playout.ahead_s(due_s) > 0.07
        now_s = due_s
    assert not [item for item in items if isinstance(item, str)]
    assert len(items) <= 26
    assert playout.written == 0


def test_background_lies_under_the_speech() -> None:
    """Speech leaves as it does without, in time and length, and its mark before the background that follows."""
    with_room, without = Pacer(Playout(), Ambience("office", 0.5)), Pacer(Playout())
    for pacer in (with_room, without):
        pacer.put(bytes(300 * MS))
        pacer.finish()
    plain, mixed = list(without.due(0.0)), list(with_room.due(0.0))
    assert [len(item) for item in mixed] == [len(item) for item in plain]
    assert mixed[-1] == plain[-1] == "m2"
    assert any(mixed[0])
    assert [type(item) for item in with_room.due(0.25)] == [bytes]
