"""One WAV file out of many parts."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turncall_blobs import MemoryStore
from turncall_control.calls.recording import (
    WAV_HEADER_BYTES,
    MixedRates,
    Recording,
    Unsatisfiable,
    assembled,
    byte_range,
    stream,
)
from turncall_proto.events import RecordingPart, RecordingReady
from turncall_proto.ids import CallId, ProjectId


def ready(epoch: int, *parts: RecordingPart, rate_hz: int = 8000) -> RecordingReady:
    """What a worker states when its parts are stored."""
    return RecordingReady(
        call_id=CallId("call_" + "a" * 32),
        project_id=ProjectId("prj_" + "b" * 32),
        epoch=epoch,
        seq=7,
        at=datetime(2026, 11, 22, tzinfo=UTC),
        rate_hz=rate_hz,
        duration_ms=1,
        parts=parts,
    )


def part(key: str, audio_bytes: int) -> RecordingPart:
    """A stored part."""
    return RecordingPart(key=key, size_bytes=WAV_HEADER_BYTES + audio_bytes, duration_ms=1)


def test_epochs_follow_each_other() -> None:
    """Parts come in the order of their epochs; empty ones are left out; without any there is no recording."""
    whole = assembled([ready(2, part("c", 8)), ready(1, part("a", 4), part("b", 0))])
    assert whole is not None
    assert [stored.key for stored in whole.parts] == ["a", "c"]
    assert whole.size_bytes == 44 + 12
    assert assembled([ready(1)]) is None
    assert assembled([]) is None


def test_a_workers_own_word_on_its_epoch_stands() -> None:
    """What was found of a lost epoch fills its place, the newest of it; not where its worker told of it itself."""
    found = [msgspec.structs.replace(ready(0, part(key, 4)), of_epoch=1, seq=seq) for seq, key in ((3, "a"), (9, "b"))]
    whole = assembled([found[1], ready(2, part("c", 4)), found[0]])
    assert whole is not None
    assert [stored.key for stored in whole.parts] == ["b", "c"]
    own = assembled([ready(1, part("own", 4)), *found])
    assert own is not None
    assert [stored.key for stored in own.parts] == ["own"]


def test_two_rates_make_no_file() -> None:
    """Parts at different rates cannot stand in one WAV file."""
    with pytest.raises(MixedRates, match="8000, 16000"):
        assembled([ready(1, part("a", 4)), ready(2, part("b", 4), rate_hz=16_000)])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-", (10, 100)),
        ("bytes=10-500", (10, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-700", (0, 100)),
        ("bytes=9-8", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=1e3-", None),
        ("bytes=٣-", None),
        ("items=0-1", None),
        ("", None),
    ],
)
def test_ranges_by_the_book(header: str, expected: tuple[int, int] | None) -> None:
    """One range of bytes is understood; what is malformed, or more than one, is as if nothing was asked."""
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_cannot_be_satisfied(header: str) -> None:
    """A range without a single byte of the file is an error."""
    with pytest.raises(Unsatisfiable):
        byte_range(header, 100)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), cut=st.tuples(st.integers(0, 90), st.integers(0, 90)))
def test_any_cut_equals_the_cut_of_the_whole(sizes: list[int], cut: tuple[int, int]) -> None:
    """Whatever range is read, its bytes are those of the whole file at that place."""

    async def read() -> None:
        blobs = MemoryStore()
        for n, size in enumerate(sizes):
            await blobs.put(f"part/{n}", b"h" * WAV_HEADER_BYTES + bytes([n]) * size, "audio/wav")
        whole = Recording(rate_hz=8000, parts=tuple(part(f"part/{n}", size) for n, size in enumerate(sizes)))
        start, end = sorted(min(at, whole.size_bytes) for at in cut)
        everything = b"".join([piece async for piece in stream(blobs, whole, 0, whole.size_bytes)])
        assert len(everything) == whole.size_bytes
        assert everything[:4] == b"RIFF"
        assert b"".join([piece async for piece in stream(blobs, whole, start, end)]) == everything[start:end]

    asyncio.run(read())
