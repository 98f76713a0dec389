"""One 20 ms beat for all calls: a timer per call costs more than the audio it paces."""

from typing import Protocol

from turncall_phone.clock import Clock

TICK_S = 0.02
# Behind by more than this the beat starts afresh: a process that was stopped for a minute owes nobody 3,000 frames.
MAX_BEHIND_S = 2.0


class Ticked(Protocol):
    """What the beat moves on."""

    def tick(self) -> None:
        """Advance by 20 ms; must not wait."""
        ...


class Ticker:
    """Calls every registered line each 20 ms, and makes up for late beats so that audio keeps real time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: dict[Ticked, None] = {}
        self.worst_lag_s = 0.0
        self.skipped_ticks = 0

    def add(self, line: Ticked) -> None:
        """Start ticking `line` with the next beat."""
        self._lines[line] = None

    def remove(self, line: Ticked) -> None:
        """Stop ticking `line`; harmless when it is not ticked."""
        self._lines.pop(line, None)

    async def run(self) -> None:
        """Beat until cancelled."""
        due_s = self._clock.monotonic_s() + TICK_S
        while True:
            await self._clock.sleep_until(due_s)
            lag_s = self._clock.monotonic_s() - due_s
            self.worst_lag_s = max(self.worst_lag_s, lag_s)
            if lag_s > MAX_BEHIND_S:
                missed = int(lag_s / TICK_S)
                self.skipped_ticks += missed
                due_s += missed * TICK_S
            for line in tuple(self._lines):
                line.tick()
            due_s += TICK_S
