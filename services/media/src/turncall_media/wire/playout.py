"""What the carrier still has to play and what the caller has heard: a model of the carrier's queue, kept in samples.

A position counts the samples handed to the carrier since the stream began. The carrier plays them at 8 kHz without a
gap until its queue is empty, and returns each mark when the sample before it was played. The clock says what could have
been played by now at best; the marks say what was.
"""

from collections import deque
from typing import Final

from turncall_media.sound import RATE_HZ

MARK_GRACE_S: Final = 2.0
"""A mark later than this is lost: a carrier that forgets one must not freeze the conversation."""


class Playout:
    """One stream's queue at the carrier. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.written = 0
        self._run: tuple[int, float] = (0, 0.0)  # where and when the carrier's queue was last found empty
        self._confirmed: tuple[int, float] = (0, 0.0)  # the last mark that came back
        self._marks: deque[tuple[str, int]] = deque()

    def wrote(self, samples: int, now_s: float) -> None:
        """``samples`` more were handed to the carrier."""
        if self._fastest(now_s) >= self.written:
            self._run = (self.written, now_s)
        self.written += samples

    def ends_at_s(self, position: int) -> float:
        """When the sample before ``position`` is played out, if nothing clears it; for positions of this run."""
        start, at_s = self._run
        return at_s + max(0, position - start) / RATE_HZ

    def ahead_s(self, now_s: float) -> float:
        """How much audio the carrier holds."""
        return (self.written - self._fastest(now_s)) / RATE_HZ

    def marked(self, name: str) -> None:
        """A mark was sent behind everything written so far."""
        self._marks.append((name, self.written))

    def mark_returned(self, name: str, now_s: float) -> bool:
        """Whether the mark says that audio was played. One that a clear brought back says nothing."""
        if not any(known == name for known, _ in self._marks):
            return False
        while True:
            returned, position = self._marks.popleft()
            if returned == name:
                break
        if position > self._confirmed[0]:
            self._confirmed = (position, now_s)
        return True

    def settled(self, now_s: float) -> int:
        """The position up to which the caller has surely heard: by marks, or by a mark that is long overdue."""
        return max(self._confirmed[0], self._fastest(now_s - MARK_GRACE_S))

    def settles_at_s(self, position: int) -> float:
        """When `settled` reaches ``position`` even if no mark ever comes back."""
        return self.ends_at_s(position) + MARK_GRACE_S

    def heard(self, now_s: float) -> int:
        """The best guess of the sample that the caller hears: past the last mark back, short of the next one."""
        base, at_s = max(self._confirmed, self._run)
        guess = base + round((now_s - at_s) * RATE_HZ)
        limits = [position for _, position in self._marks if self.settles_at_s(position) > now_s]
        return max(self.settled(now_s), min(guess, self._fastest(now_s), *limits[:1]))

    def cleared(self, now_s: float) -> int:
        """The carrier was told to forget the rest. Returns `heard`; what was not heard by then never will be."""
        heard = self.heard(now_s)
        self._marks.clear()
        self._run = (self.written, now_s)
        self._confirmed = (self.written, now_s)
        return heard

    def _fastest(self, now_s: float) -> int:
        """The position that a carrier without any delay would play now."""
        start, at_s = self._run
        return min(self.written, start + max(0, round((now_s - at_s) * RATE_HZ)))
