"""The stepped clock, and the beat of all lines."""

import asyncio
from contextlib import suppress

from turncall_phone.clock import SteppedClock, sleep
from turncall_phone.ticker import Ticker


class Line:
    """Counts its ticks, with the time of each."""

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock
        self.at_ms: list[int] = []

    def tick(self) -> None:
        self.at_ms.append(round(self._clock.monotonic_s() * 1000))


class LateClock(SteppedClock):
    """A clock whose sleepers wake late once."""

    late_s = 0.0

    async def sleep_until(self, at_s: float) -> None:
        late_s, self.late_s = self.late_s, 0.0
        await super().sleep_until(at_s + late_s)


async def beats(clock: SteppedClock, ticker: Ticker, seconds: float) -> None:
    """Let `ticker` run for a while."""
    beat = asyncio.create_task(ticker.run())
    await clock.advance(seconds)
    beat.cancel()
    with suppress(asyncio.CancelledError):
        await beat


async def test_sleepers_wake_in_the_order_of_their_deadlines_each_at_its_own_time(clock: SteppedClock) -> None:
    """A step over several deadlines stops at each of them."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await sleep(clock, seconds)
        woken.append((name, clock.monotonic_s()))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper("late", 2.0))
        tasks.create_task(sleeper("early", 1.0))
        await clock.advance(5.0)

    assert woken == [("early", 1.0), ("late", 2.0)]


async def test_every_line_is_ticked_each_20_ms(clock: SteppedClock) -> None:
    """Lines beat together from the next beat after they were added until they are removed."""
    ticker, first, second = Ticker(clock), Line(clock), Line(clock)
    ticker.add(first)
    ticker.add(second)
    await beats(clock, ticker, 0.05)
    ticker.remove(second)
    await beats(clock, ticker, 0.05)

    assert first.at_ms == [20, 40, 70, 90]
    assert second.at_ms == [20, 40]


async def test_late_beats_are_made_up_for(clock: SteppedClock) -> None:
    """After a stall of 100 ms the missed frames follow at once, so that audio keeps real time."""
    late = LateClock(start=clock.now())
    late.late_s = 0.1
    ticker, line = Ticker(late), Line(late)
    ticker.add(line)
    await beats(late, ticker, 0.2)

    assert len(line.at_ms) == 10
    assert line.at_ms[:6] == [120] * 6
    assert round(ticker.worst_lag_s, 3) == 0.1


async def test_a_long_stop_is_forgiven(clock: SteppedClock) -> None:
    """A process that slept for a minute does not send 3,000 frames at once."""
    late = LateClock(start=clock.now())
    late.late_s = 60.0
    ticker, line = Ticker(late), Line(late)
    ticker.add(line)
    await beats(late, ticker, 60.1)

    assert len(line.at_ms) < 10
    assert ticker.skipped_ticks == 3000
