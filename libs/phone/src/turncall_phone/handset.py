"""What reaches a caller's ear over one media socket: played as it comes, noted when it came and when it was due."""

from collections import deque
from typing import Final

from msgspec import Struct, field

from turncall_phone.playout import RATE_HZ

UTTERANCE_GAP_S: Final = 0.5
"""Nothing was left to play for so long: what comes next is another utterance."""


class Piece(Struct, frozen=True):
    """One message of audio behind the first one of its utterance, which came at ``at_s``.

    ``late_ms``: how long after its audio was due it came, if the first message was played as it came and nothing is
    kept in hand; 0 for what came in time. ``gap_ms``: how long the caller heard nothing before it, since a gap
    puts off all that follows.
    """

    at_s: float
    samples: int
    late_ms: float
    gap_ms: float


class Utterance(Struct, kw_only=True):
    """What was heard without a pause, from ``began_s`` until ``ended_s``, by what has come of it. ``codes`` are mu-law;
    ``is_cut``: the peer took back what was not played yet."""

    began_s: float
    ended_s: float
    codes: bytearray = field(default_factory=bytearray)
    pieces: list[Piece] = field(default_factory=list)
    is_cut: bool = False


class Handset:
    """The caller's end of one stream. Moments are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.utterances: list[Utterance] = []
        self._due_s = 0.0  # when what comes next is due, if the utterance's first message was in time
        self._marks: deque[tuple[float, str]] = deque()

    def hear(self, codes: bytes, now_s: float) -> None:
        """Audio came."""
        last = self.utterances[-1] if self.utterances else None
        if last is None or now_s - max(self._due_s, last.ended_s) > UTTERANCE_GAP_S:
            last = Utterance(began_s=now_s, ended_s=now_s)
            self.utterances.append(last)
            self._due_s = now_s
        else:
            late_ms, gap_ms = (1000 * max(0.0, now_s - due_s) for due_s in (self._due_s, last.ended_s))
            last.pieces.append(Piece(now_s, len(codes), late_ms, gap_ms))
        last.codes += codes
        last.ended_s = max(last.ended_s, now_s) + len(codes) / RATE_HZ
        self._due_s += len(codes) / RATE_HZ

    def mark(self, name: str) -> None:
        """A mark came behind what is to be played."""
        self._marks.append((self.utterances[-1].ended_s if self.utterances else 0.0, name))

    def clear(self, now_s: float) -> None:
        """Nothing more is played; every mark is due."""
        if self.utterances and self.utterances[-1].ended_s > now_s:
            self.utterances[-1].is_cut = True
            self._due_s = self.utterances[-1].ended_s = now_s
        self._marks = deque((now_s, name) for _, name in self._marks)

    def marks_due(self, now_s: float) -> list[str]:
        """The marks whose audio was played since the last time."""
        due = []
        while self._marks and self._marks[0][0] <= now_s:
            due.append(self._marks.popleft()[1])
        return due
