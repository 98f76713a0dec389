"""Frames are cut and read as the library does it, however they are cut up on their way."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from turncall_media.ingress.frames import Frames

MAX_BYTES = 1_000

payloads = st.binary(max_size=300)
frames = st.one_of(
    st.builds(Frame, st.sampled_from([Opcode.CONT, Opcode.TEXT, Opcode.BINARY]), payloads, st.booleans()),
    st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
)
texts = st.builds(Frame, st.just(Opcode.TEXT), payloads)


def sent(those: Sequence[Frame]) -> bytes:
    """As a client sends them."""
    return b"".join(frame.serialize(mask=True) for frame in those)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """``data`` in parts."""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@given(st.lists(st.one_of(frames, texts), max_size=8), st.lists(st.integers(0, 4_000), max_size=8))
def test_nothing_is_lost_or_changed(those: list[Frame], cuts: list[int]) -> None:
    """What is not a whole text comes out byte by byte as it came; texts come out as they were said, in their place."""
    cutter, came = Frames(MAX_BYTES), list[tuple[bool, bytes]]()
    for piece in pieces(sent(those), cuts):
        came += cutter.feed(piece)
    assert cutter.drain() == b""
    assert len(came) == len(those)
    is_fragmented = False
    for frame, (is_text, data) in zip(those, came, strict=True):
        assert is_text == (frame.opcode is Opcode.TEXT and frame.fin and not is_fragmented)
        if is_text:
            assert data == frame.data
        else:
            assert reread(data) == frame
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            is_fragmented = not frame.fin


def reread(data: bytes) -> Frame:
    """The frame that the library finds in ``data``."""
    steps = iter((data, b""))
    buffer = bytearray(next(steps))

    def read_exact(count: int):  # type: ignore[no-untyped-def]  # a generator that never waits
        taken = bytes(buffer[:count])
        del buffer[:count]
        return taken
        yield

    parsing = Frame.parse(read_exact, mask=True)
    try:
        next(parsing)
    except StopIteration as done:
        frame: Frame = done.value
        assert not buffer
        return Frame(frame.opcode, bytes(frame.data), frame.fin)
    raise AssertionError("the frame is not whole")


def test_a_frame_that_is_too_long_is_the_librarys() -> None:
    """From its head on, before its body has come: the library closes with 1009."""
    cutter = Frames(MAX_BYTES)
    long = sent([Frame(Opcode.TEXT, b"x" * (MAX_BYTES + 1))])
    assert [*cutter.feed(long[:3])] == []
    assert not cutter.is_lost
    assert [*cutter.feed(long[3:9])] == [(False, long[:9])]
    assert cutter.is_lost
