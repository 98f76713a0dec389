"""The benches of the control plane: which figures they measure, what those have to reach, how a round of each goes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from turncall_testkit.bench import facts, webhooks
from turncall_testkit.bench.measured import Measured, Size, figure
from turncall_testkit.bench.plant import Plant
from turncall_testkit.bench.report import p99
from turncall_testkit.bench.spending import busiest, loop_ms, sampled
from turncall_testkit.chaos.machine import watching

FACTS_RATE_PER_S: Final = 1_000
WEBHOOKS_RATE_PER_S: Final = 100


async def projection(plant: Plant, size: Size, folder: Path) -> Measured:
    """A backlog into rows with one subscription, then the same projector at a steady rate."""
    drained, late_ms, loops_ms = [], [], []
    async with facts.subscriber(plant), watching() as watch:
        await facts.drain(plant, size.calls, 10)  # caches, prepared statements
        for _ in range(size.rounds):
            loops_ms.append(loop_ms())
            drained.append(await facts.drain(plant, size.calls, size.facts_per_call))
            late_ms.append(p99(await facts.lateness_ms(plant, size.calls, FACTS_RATE_PER_S, size.lasts_s)))
        load = watch.load()
        profile = {}
        if size.has_profile:
            sampling = asyncio.create_task(sampled(busiest(plant.control_pid), 2 * size.lasts_s, folder))
            await facts.drain(plant, size.calls, 2 * size.facts_per_call)
            profile = await sampling
    return Measured(
        unit="facts",
        figures=(
            figure(
                "P1",
                "projection",
                "facts stored, one projector",
                "facts/s",
                [one.facts_per_s for one in drained],
                10_000,
            ),
            figure("P1", "projection", "publish to row at 1,000/s, p99", "ms", late_ms, 250, is_upward=False),
        ),
        capacities=tuple(one.capacity for one in drained),
        profile=profile,
        load=load,
        loops_ms=tuple(loops_ms),
        counted={
            "facts stored": sum(one.stored for one in drained),
            "deliveries queued": sum(one.deliveries for one in drained),
        },
    )


async def inbound(plant: Plant, size: Size, folder: Path) -> Measured:
    """Webhooks as fast as they are answered, then at a steady rate."""
    fast, steady, loops_ms = [], [], []
    async with watching() as watch:
        await webhooks.most(plant, 1.0)
        for _ in range(size.rounds):
            loops_ms.append(loop_ms())
            fast.append(await webhooks.most(plant, size.lasts_s))
            steady.append(await webhooks.steady(plant, WEBHOOKS_RATE_PER_S, size.lasts_s))
        load = watch.load()
        profile = {}
        if size.has_profile:
            sampling = asyncio.create_task(sampled(busiest(plant.control_pid), size.lasts_s, folder))
            await webhooks.most(plant, size.lasts_s + 1.0)
            profile = await sampling
    return Measured(
        unit="webhooks",
        figures=(
            figure(
                "P2", "inbound webhook", "answered, one control process", "requests/s", [one.per_s for one in fast], 500
            ),
            figure("P2", "inbound webhook", "p99 at 100/s", "ms", [one.p99_ms for one in steady], 100, is_upward=False),
        ),
        capacities=tuple(one.capacity for one in fast),
        profile=profile,
        load=load,
        loops_ms=tuple(loops_ms),
        counted={
            "calls answered": sum(len(one.took_ms) for one in (*fast, *steady)),
            "of them asked to hold": sum(one.held for one in (*fast, *steady)),
        },
    )


BENCHES: Final[dict[str, Callable[[Plant, Size, Path], Awaitable[Measured]]]] = {
    "inbound": inbound,
    "projection": projection,
}
