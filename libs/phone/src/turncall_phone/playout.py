"""A queue of audio that plays at its own pace, with marks that come back at the sample where they fall."""

from collections import deque

import numpy as np

from turncall_phone.mulaw import Samples

RATE_HZ = 8000
FRAME_SAMPLES = 160


class Playout:
    """Mono s16 at 8 kHz, taken a frame at a time; positions count the samples taken since the start.

    A frame that was taken is in the air for its 20 ms: marks that fall in it are due when the next frame is taken.
    """

    def __init__(self, *, capacity_samples: int | None = None) -> None:
        self._capacity = capacity_samples
        self._chunks: deque[Samples] = deque()
        self._offset = 0
        self._queued = 0
        self._started = 0
        self._finished = 0
        self._marks: deque[tuple[int, str]] = deque()

    @property
    def queued_samples(self) -> int:
        """Samples that have not begun to play."""
        return self._queued

    @property
    def played_samples(self) -> int:
        """Samples that have been played to their end."""
        return self._finished

    @property
    def is_idle(self) -> bool:
        """Nothing is queued and nothing is in the air."""
        return self._queued == 0 and self._started == self._finished

    def feed(self, samples: Samples) -> int:
        """Queue `samples`; returns how many were dropped because the queue was full."""
        room = len(samples) if self._capacity is None else max(0, self._capacity - self._queued)
        kept = samples[:room]
        if len(kept):
            self._chunks.append(kept)
            self._queued += len(kept)
        return len(samples) - len(kept)

    def mark(self, name: str) -> bool:
        """Set a mark behind what is queued; True when it is due at once because nothing plays."""
        if self.is_idle:
            return True
        self._marks.append((self._started + self._queued, name))
        return False

    def clear(self) -> tuple[str, ...]:
        """Drop what has not begun to play; returns the names of all outstanding marks, oldest first."""
        self._chunks.clear()
        self._offset = 0
        self._queued = 0
        names = tuple(name for _, name in self._marks)
        self._marks.clear()
        return names

    def due_marks(self) -> tuple[str, ...]:
        """End the frame in the air; returns the names of the marks that fell in it, oldest first."""
        self._finished = self._started
        names: list[str] = []
        while self._marks and self._marks[0][0] <= self._finished:
            names.append(self._marks.popleft()[1])
        return tuple(names)

    def take(self) -> Samples | None:
        """The next 160 samples, padded with silence; None when nothing is queued."""
        if self._queued == 0:
            return None
        frame = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        filled = 0
        while filled < FRAME_SAMPLES and self._chunks:
            head = self._chunks[0]
            part = head[self._offset : self._offset + FRAME_SAMPLES - filled]
            frame[filled : filled + len(part)] = part
            filled += len(part)
            self._offset += len(part)
            if self._offset == len(head):
                self._chunks.popleft()
                self._offset = 0
        self._queued -= filled
        self._started += filled
        return frame
