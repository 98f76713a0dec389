"""Bytes on the bus: limits, typed decoding and one kind of error."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from turncall_proto.codec import MalformedMessage, TooLarge, decode, encode
from turncall_proto.command import EndCall
from turncall_proto.ids import CallId, WorkerId
from turncall_proto.placement import WorkerBeat
from turncall_proto.subjects import MAX_MESSAGE_BYTES, STREAMS

BEAT = WorkerBeat(
    worker=WorkerId("wrk_1"), pool="calls", slots_total=4, slots_used=1, lag_ms=0.5, version="1", media_url="ws://m"
)


def test_a_message_survives_the_bus() -> None:
    """What is decoded equals what was encoded, moments included."""
    end = EndCall(command_id="c1", call_id=CallId("call_1"), deadline=datetime(2026, 11, 22, 9, 30, tzinfo=UTC))

    assert decode(encode(end), EndCall) == end
    assert decode(encode(BEAT), WorkerBeat) == BEAT


def test_a_moment_in_another_zone_is_the_same_moment() -> None:
    """Deadlines compare whatever zone they were written in."""
    zone = timezone(timedelta(hours=2))
    end = EndCall(command_id="c1", call_id=CallId("call_1"), deadline=datetime(2026, 11, 22, 11, 30, tzinfo=zone))

    assert decode(encode(end), EndCall).deadline == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_the_largest_message_fits_and_the_next_does_not() -> None:
    """The limit is on the encoded bytes, and the error says how many there were."""
    empty = len(encode(EndCall(command_id="", call_id=CallId(""), deadline=datetime(2026, 1, 1, tzinfo=UTC))))

    def sized(size_bytes: int) -> EndCall:
        return EndCall(
            command_id="x" * (size_bytes - empty), call_id=CallId(""), deadline=datetime(2026, 1, 1, tzinfo=UTC)
        )

    assert len(encode(sized(MAX_MESSAGE_BYTES))) == MAX_MESSAGE_BYTES
    with pytest.raises(TooLarge, match=f"EndCall is {MAX_MESSAGE_BYTES + 1} bytes"):
        encode(sized(MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", encode(BEAT).replace(b'"calls"', b'"cows"')])
def test_other_bytes_are_malformed(data: bytes) -> None:
    """The error names the kind that was expected."""
    with pytest.raises(MalformedMessage, match="WorkerBeat"):
        decode(data, WorkerBeat)


def test_streams_do_not_share_a_subject() -> None:
    """A message lies in one stream, so a subject alone says where to read it."""
    filters = [subject for stream in STREAMS for subject in stream.subjects]
    prefixes = [subject.removesuffix(">") for subject in filters]

    assert all(subject.endswith(".>") for subject in filters)
    for index, prefix in enumerate(prefixes):
        assert not any(other.startswith(prefix) for position, other in enumerate(prefixes) if position != index)
