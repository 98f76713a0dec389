"""``python -m turncall_testkit.chaos [slug …]``: runs scenarios, prints the table, exits 1 when a figure was missed."""

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import time
from pathlib import Path

from turncall_testkit.chaos import dialling, dossier, machine, placement
from turncall_testkit.chaos.checker import examine
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.report import Row, last_rows, markdown, report, write
from turncall_testkit.chaos.scenario import Scenario, misses, play
from turncall_testkit.chaos.scenarios import SCENARIOS
from turncall_testkit.chaos.scene import SLOTS, scene

FOLDER = Path(".turncall/chaos")
SLUGS = (*(one.slug for one in SCENARIOS), placement.SLUG, dialling.SLUG)


def main() -> int:
    """0 when every scenario reached its figure."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Kill, freeze and take away, and check what held.")
    parser.add_argument("slugs", nargs="*", metavar="slug", help=", ".join(SLUGS))
    parser.add_argument("--calls", type=int, default=20, help="calls at once (20)")
    parser.add_argument("--seed", type=int, default=None, help="chooses victims and moments (random)")
    parser.add_argument("--minutes", type=float, default=1.0, help="of workers-dying (1; the figure asks for 5)")
    parser.add_argument(
        "--add", action="store_true", help="keep the last report's rows of scenarios that do not run now"
    )
    parser.add_argument("--short", action="store_true", help="shorter outages and conversations")
    asked = parser.parse_args()
    unknown = set(asked.slugs) - set(SLUGS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    chosen = [slug for slug in SLUGS if not asked.slugs or slug in asked.slugs]
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    return asyncio.run(_run(chosen, asked, seed))


async def _run(chosen: list[str], asked: argparse.Namespace, seed: int) -> int:
    load_before, rows = os.getloadavg()[0], []
    kept = [row for row in last_rows(FOLDER) if row.slug not in chosen] if asked.add else []
    scenarios = {one.slug: one for one in SCENARIOS}
    for slug in chosen:
        sys.stderr.write(f"{slug}: {asked.calls} calls, seed {seed}\n")
        rows.append(await (_row(scenarios[slug], asked, seed) if slug in scenarios else _unspoken(slug, seed)))
        write(report(sorted([*kept, *rows], key=lambda row: SLUGS.index(row.slug)), load_before), FOLDER)
    sys.stdout.write(markdown(report(rows, load_before)))
    return 1 if any(row.misses for row in rows) else 0


async def _row(scenario: Scenario, asked: argparse.Namespace, seed: int) -> Row:
    folder = FOLDER / scenario.slug
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    slots = scenario.slots(asked.calls)
    async with (
        scene(folder.absolute(), workers=scenario.workers, replicas=scenario.replicas, slots=slots) as made,
        machine.watching() as watch,
    ):
        drill = Drill(made, scenario.slug, calls=asked.calls, seed=seed, is_short=asked.short, minutes=asked.minutes)
        history = await play(scenario, drill)
    dossier.write(history, folder / "calls")
    found = examine(history)
    return Row(
        slug=scenario.slug,
        figure=scenario.figure,
        seed=seed,
        lasted_s=round(time.monotonic() - began, 1),
        load=watch.load(),
        found=found,
        measures=scenario.measures(history),
        misses=tuple(misses(scenario, history, found, timed=True)),
    )


async def _unspoken(slug: str, seed: int) -> Row:
    """A drill in which nobody speaks."""
    folder = FOLDER / slug
    shutil.rmtree(folder, ignore_errors=True)
    began, slots = time.monotonic(), dialling.SLOTS if slug == dialling.SLUG else SLOTS
    async with scene(folder.absolute(), workers=1, replicas=2, slots=slots) as made, machine.watching() as watch:
        done = await (placement.place(made) if slug == placement.SLUG else dialling.dial(made, seed=seed))
    return Row(
        slug=slug,
        figure=placement.FIGURE if slug == placement.SLUG else dialling.FIGURE,
        seed=seed,
        lasted_s=round(time.monotonic() - began, 1),
        load=watch.load(),
        measures=done.measures(),
        misses=tuple(done.faults()),
    )


if __name__ == "__main__":
    sys.exit(main())
