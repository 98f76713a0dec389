"""The bench of placement: fifty callers a second over five workers, of which two are overloaded."""

from pathlib import Path

from turncall_testkit.bench.measured import Measured, Size, figure
from turncall_testkit.bench.report import p99
from turncall_testkit.bench.spending import loop_ms
from turncall_testkit.chaos.machine import watching
from turncall_testkit.chaos.placement import LASTS_S, P99_MS, place
from turncall_testkit.chaos.scene import scene


async def placement(size: Size, folder: Path) -> Measured:
    """The drill of the chaos runs in an installation of its own, once."""
    slow = loop_ms()
    async with scene(folder / "placement", workers=1, replicas=2) as made, watching() as watch:
        done = await place(made, max(1.0, LASTS_S * size.share))
        load = watch.load()
    return Measured(
        unit="calls",
        figures=(
            figure(
                "P8", "placement", "webhook to answer at 50/s, p99", "ms", [p99(done.took_ms)], P99_MS, is_upward=False
            ),
            figure("P8", "placement", "given to an overloaded worker", "calls", [done.misplaced], 1, is_upward=False),
        ),
        capacities=({},),
        profile={},
        load=load,
        loops_ms=(slow,),
        counted={"calls placed": sum(index is not None for index in done.workers)},
    )
