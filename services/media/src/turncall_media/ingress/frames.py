"""What a carrier's socket brings, cut into frames (RFC 6455, 5.2), and the common kind of them read.

The library's parser is a chain of generators that are resumed for each part of a frame: a quarter of what a worker full
of calls did. Nearly all frames are whole texts, which are read here; all others are handed on to it as they came.
"""

from collections.abc import Iterator
from typing import Final

from websockets.speedups import apply_mask

_FINAL: Final = 0x80
_OPCODE: Final = 0x0F
_DATA: Final = (0, 1, 2)
_WHOLE_TEXT: Final = _FINAL | 1
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
_LONG: Final = {126: 2, 127: 8}
"""In place of a length: it is in so many bytes behind it."""


class Frames:
    """Of one connection, from the end of the handshake on. ``max_bytes`` may be in a frame."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._is_fragmented = False
        self.is_lost = False
        """Whether a frame is too long to be kept here: it and whatever follows are the library's to judge."""

    def feed(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """What ``data`` completes, in order: true with a text's bytes, or false with a frame as it came."""
        data = self._rest + data if self._rest else data
        start = 0
        while (body := self._body(data, start)) is not None:
            stop = body[1]
            if stop - start > self._max_bytes:
                self.is_lost, self._rest = True, b""
                yield False, data[start:]
                return
            if stop > len(data):
                break
            first = data[start]
            if first == _WHOLE_TEXT and data[start + 1] & _MASKED and not self._is_fragmented:
                yield True, apply_mask(data[body[0] : stop], data[body[0] - _MASK_BYTES : body[0]])
            else:
                if first & _OPCODE in _DATA:
                    self._is_fragmented = not first & _FINAL
                yield False, data[start:stop]
            start = stop
        self._rest = data[start:]

    def drain(self) -> bytes:
        """The part of a frame that has come so far; it is forgotten."""
        rest, self._rest = self._rest, b""
        return rest

    @staticmethod
    def _body(data: bytes, start: int) -> tuple[int, int] | None:
        """Where the payload of the frame at ``start`` begins and ends; None while its head is not there."""
        if len(data) < start + 2:
            return None
        second = data[start + 1]
        length, begins = second & ~_MASKED, start + 2
        more = _LONG.get(length)
        if more is not None:
            if len(data) < begins + more:
                return None
            length, begins = int.from_bytes(data[begins : begins + more]), begins + more
        if second & _MASKED:
            begins += _MASK_BYTES
        return begins, begins + length
