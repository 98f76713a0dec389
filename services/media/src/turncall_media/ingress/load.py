"""How much of its core this process uses, and whether it can still give every call its turn."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from turncall_proto.placement import Priority

CPU_WINDOW_S: Final = 5.0
"""How far back the CPU figure looks."""
CPU_FROM_S: Final = 1.0
"""Before so much time has passed there is no figure: a process that starts is busy with itself."""
FOR_RESUMED: Final = 2.0
"""A caller who lost a worker is taken up to this many times the lag that turns others away, at any CPU."""


class CpuShare:
    """CPU seconds of this process for each second that passes. ``spent_s`` and ``clock_s`` are those two counters."""

    def __init__(
        self, spent_s: Callable[[], float] = time.process_time, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._spent_s = spent_s
        self._clock_s = clock_s
        self._seen: deque[tuple[float, float]] = deque([(clock_s(), spent_s())])

    def read(self) -> float:
        """The share over the window, 1.0 for one core fully used. To be called at least once a second."""
        now_s, spent_s = self._clock_s(), self._spent_s()
        while len(self._seen) > 1 and now_s - self._seen[1][0] >= CPU_WINDOW_S:
            self._seen.popleft()
        since_s, had_s = self._seen[0]
        self._seen.append((now_s, spent_s))
        passed_s = now_s - since_s
        return round((spent_s - had_s) / passed_s, 3) if passed_s >= CPU_FROM_S else 0.0


class Load(Struct, frozen=True, kw_only=True):
    """What the process bears at a moment, and what it may bear."""

    lag_ms: float = 0.0
    cpu_share: float = 0.0
    max_lag_ms: float
    max_cpu_share: float

    def refusal(self, priority: Priority) -> str | None:
        """Why a call of this priority would harm those that are here; None when it would not."""
        if self.lag_ms > self.max_lag_ms * (FOR_RESUMED if priority == "resumed" else 1.0):
            return f"the event loop lags by {self.lag_ms:.0f} ms"
        if priority != "resumed" and self.cpu_share > self.max_cpu_share:
            return f"{self.cpu_share:.0%} of a core is used"
        return None
