"""What the carrier still has to play and what the caller has heard: a model of the carrier's queue, kept in samples.

A position counts the samples of the agent's speech that were handed to the carrier since the stream began; a place
counts those of the background between them too, so that what was said does not depend on what was heard behind it. The
carrier plays them at the wire's rate without a gap until its queue is empty, and returns each mark when the sample
before it was played. The clock says what could have been played by now at best; the marks say what was.
"""

from collections import deque
from typing import Final

from turncall_media.audio.sound import TELEPHONE, Sound

MARK_GRACE_S: Final = 2.0
"""A mark later than this is lost: a carrier that forgets one must not freeze the conversation."""


class Playout:
    """One stream's queue at the carrier. Times are seconds of one monotonic clock."""

    def __init__(self, sound: Sound = TELEPHONE) -> None:
        self._rate_hz = sound.rate_hz
        self.written = 0
        self._sent = 0  # the place behind everything
        self._stretches: deque[tuple[int, int]] = deque([(0, 0)])  # position and place at which speech goes on
        self._run: tuple[int, float] = (0, 0.0)  # the place at which the carrier's queue was last found empty, and when
        self._confirmed: tuple[int, float] = (0, 0.0)  # the place of the last mark that came back
        self._marks: deque[tuple[str, int]] = deque()

    def wrote(self, samples: int, now_s: float) -> None:
        """``samples`` more of speech were handed to the carrier."""
        position, place = self._stretches[-1]
        if place + self.written - position != self._sent:
            self._stretches.append((self.written, self._sent))
            while len(self._stretches) > 1 and self._stretches[1][1] <= self._settled(now_s):
                self._stretches.popleft()
        self.filled(samples, now_s)
        self.written += samples

    def filled(self, samples: int, now_s: float) -> None:
        """``samples`` of background were handed to the carrier."""
        if self._fastest(now_s) >= self._sent:
            self._run = (self._sent, now_s)
        self._sent += samples

    @property
    def empty_at_s(self) -> float:
        """When the carrier has played all that it has, if nothing clears it."""
        return self._at_s(self._sent)

    def begins_at_s(self, position: int) -> float:
        """When the sample behind ``position`` is played, if nothing clears it; for positions of this run."""
        return self._at_s(next(place + position - at for at, place in reversed(self._stretches) if at <= position))

    def ends_at_s(self, position: int) -> float:
        """When the sample before ``position`` is played out, if nothing clears it; for positions of this run."""
        return self._at_s(self._end(position))

    def ahead_s(self, now_s: float) -> float:
        """How much audio the carrier holds."""
        return (self._sent - self._fastest(now_s)) / self._rate_hz

    def holds_background_only(self, now_s: float) -> bool:
        """Whether the carrier has audio left, and all speech was heard for sure."""
        speech_ends = self._end(self.written)
        return self.ahead_s(now_s) > 0 and speech_ends < self._sent and speech_ends <= self._settled(now_s)

    def marked(self, name: str) -> None:
        """A mark was sent behind everything written so far."""
        self._marks.append((name, self._sent))

    def mark_returned(self, name: str, now_s: float) -> bool:
        """Whether the mark says that audio was played. One that a clear brought back says nothing."""
        if not any(known == name for known, _ in self._marks):
            return False
        while True:
            returned, place = self._marks.popleft()
            if returned == name:
                break
        if place > self._confirmed[0]:
            self._confirmed = (place, now_s)
        return True

    def settled(self, now_s: float) -> int:
        """The position up to which the caller has surely heard: by marks, or by a mark that is long overdue."""
        return self._position(self._settled(now_s))

    def settles_at_s(self, position: int) -> float:
        """When `settled` reaches ``position`` even if no mark ever comes back."""
        return self.ends_at_s(position) + MARK_GRACE_S

    def heard(self, now_s: float) -> int:
        """The best guess of the position that the caller hears: past the last mark back, short of the next one."""
        base, at_s = max(self._confirmed, self._run)
        guess = base + round((now_s - at_s) * self._rate_hz)
        limits = [place for _, place in self._marks if self._at_s(place) + MARK_GRACE_S > now_s]
        return self._position(max(self._settled(now_s), min(guess, self._fastest(now_s), *limits[:1])))

    def cleared(self, now_s: float) -> int:
        """The carrier was told to forget the rest. Returns `heard`; what was not heard by then never will be."""
        heard = self.heard(now_s)
        self._marks.clear()
        self._run = (self._sent, now_s)
        self._confirmed = (self._sent, now_s)
        return heard

    def _settled(self, now_s: float) -> int:
        return max(self._confirmed[0], self._fastest(now_s - MARK_GRACE_S))

    def _fastest(self, now_s: float) -> int:
        """The place that a carrier without any delay would play now."""
        start, at_s = self._run
        return min(self._sent, start + max(0, round((now_s - at_s) * self._rate_hz)))

    def _at_s(self, place: int) -> float:
        start, at_s = self._run
        return at_s + max(0, place - start) / self._rate_hz

    def _end(self, position: int) -> int:
        """The place behind the sample before ``position``."""
        ends = (place + position - at for at, place in reversed(self._stretches) if at < position)
        return next(ends, 0)

    def _position(self, place: int) -> int:
        """How much speech lies before ``place``."""
        behind = self.written
        for at, begin in reversed(self._stretches):
            if begin <= place:
                return min(behind, at + place - begin)
            behind = at
        return behind
