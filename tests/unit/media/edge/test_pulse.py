"""Beats and the lag that they carry."""

import asyncio

from turncall_bus.memory import MemoryBus
from turncall_media.ingress.beats import Beats
from turncall_media.ingress.lag import PROBE_EVERY_S, STOOD_STILL_S, WINDOW_S, LagProbe
from turncall_proto.codec import decode
from turncall_proto.ids import WorkerId
from turncall_proto.placement import BEAT_EVERY_S, WorkerBeat
from turncall_testkit import virtual_time

PULSE = WorkerBeat(
    worker=WorkerId("wrk_1"), pool="calls", slots_total=2, slots_used=0, lag_ms=0, version="1", media_url="ws://a"
)


def test_beats_come_twice_a_second_and_at_once_when_asked():
    """A steady pulse; `soon` does not wait for it; an absent bus costs beats and nothing else."""

    async def main() -> None:
        bus, heard = MemoryBus(), []

        async def hear(_: str, data: bytes) -> None:
            heard.append((round(loop.time(), 3), decode(data, WorkerBeat)))

        loop = asyncio.get_running_loop()
        await bus.hear("beats", hear)
        beats = Beats(bus, "beats", lambda: PULSE)
        running = asyncio.create_task(beats.run())
        await asyncio.sleep(1.2)
        assert [at_s for at_s, _ in heard] == [0, BEAT_EVERY_S, 2 * BEAT_EVERY_S]
        assert heard[0][1] == PULSE
        beats.soon()
        await asyncio.sleep(0.01)
        assert heard[-1][0] == 1.2
        bus.go_away()
        await asyncio.sleep(2)
        bus.come_back()
        count = len(heard)
        await asyncio.sleep(1)
        assert len(heard) == count + 2
        running.cancel()

    virtual_time.run(main())


def ignore(_: float) -> None:
    """Nobody asks whether the loop stood still."""


def test_a_loop_that_stood_still_is_told_once():
    """A busy one is not."""
    told: list[float] = []
    probe = LagProbe(stood_still=told.append)
    for late_s in (0.4, STOOD_STILL_S - 0.1, STOOD_STILL_S + 8, 0.0):
        probe.note(late_s)
    assert told == [STOOD_STILL_S + 8]


def test_lag_is_the_worst_but_one_percent():
    """p99 over the window, in milliseconds: one stall among 250 probes does not show, three do."""
    probe = LagProbe(stood_still=ignore)
    assert probe.p99_ms == 0
    for _ in range(round(WINDOW_S / PROBE_EVERY_S)):
        probe.note(0.001)
    probe.note(0.4)
    assert probe.p99_ms == 1
    probe.note(0.4)
    probe.note(0.4)
    assert probe.p99_ms == 400
    for _ in range(round(WINDOW_S / PROBE_EVERY_S)):
        probe.note(0.002)
    assert probe.p99_ms == 2


def test_a_loop_in_good_health_has_no_lag():
    """Sleepers that wake on time leave a figure of nothing."""

    async def main() -> None:
        probe = LagProbe(stood_still=ignore)
        running = asyncio.create_task(probe.run())
        await asyncio.sleep(1)
        assert probe.p99_ms < 1
        running.cancel()

    virtual_time.run(main())
