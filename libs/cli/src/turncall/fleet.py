"""``turncall workers``: the operator's look at the media workers, and draining one."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from turncall import operator
from turncall.client.shapes import WorkerView
from turncall.columns import columns
from turncall_proto.ids import WorkerId

HEADINGS = ("WORKER", "POOL", "SLOTS", "LAG", "CPU", "BEAT", "STATE", "VERSION")


def declare(parser: argparse.ArgumentParser) -> None:
    """The verb's own verbs and options."""
    operator.declare(parser)
    verbs = parser.add_subparsers(dest="workers_verb", required=True)
    verbs.add_parser("list", help="who is there, how full, how well")
    drain = verbs.add_parser("drain", help="take no more calls, finish those there are, end")
    drain.add_argument("worker", help="its id: wrk_…")
    drain.add_argument(
        "--handover-after", type=float, metavar="SECONDS", help="when its calls go on elsewhere; its own setting else"
    )


async def run(options: argparse.Namespace, folder: Path, tell: Callable[[str], None]) -> int:
    """Carries out one verb; its exit code. Raises `NotRunning` and what the client raises."""
    async with operator.client(options, folder) as api:
        if options.workers_verb == "list":
            for line in table((await api.workers()).items):
                tell(line)
        else:
            taken = await api.drain_worker(WorkerId(options.worker), handover_after_s=options.handover_after)
            tell(f"{taken.worker} takes no more calls; it ends when it has none")
    return 0


def table(workers: Sequence[WorkerView]) -> list[str]:
    """One line for each worker under a line of headings, in columns."""
    return columns([HEADINGS, *(_row(worker) for worker in workers)])


def _row(worker: WorkerView) -> tuple[str, ...]:
    words = [
        word
        for word, holds in (
            ("silent", worker.is_silent),
            ("draining", worker.is_draining),
            ("overloaded", worker.is_overloaded),
        )
        if holds
    ]
    return (
        worker.id,
        worker.pool,
        f"{worker.slots_used}/{worker.slots_total}",
        f"{worker.lag_ms:.0f} ms",
        f"{worker.cpu_share:.0%}",
        f"{worker.last_beat_s:.1f} s ago",
        ", ".join(words) or "ready",
        worker.version,
    )
