"""``python -m turncall_testkit.chaos [slug …]``: runs scenarios, prints the table, exits 1 when a figure was missed."""

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import time
from pathlib import Path

from turncall_testkit.chaos import dossier
from turncall_testkit.chaos.checker import examine
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.report import Row, markdown, report, write
from turncall_testkit.chaos.scenario import Scenario, misses, play
from turncall_testkit.chaos.scenarios import SCENARIOS
from turncall_testkit.chaos.scene import scene

FOLDER = Path(".turncall/chaos")


def main() -> int:
    """0 when every scenario reached its figure."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Kill, freeze and take away, and check what held.")
    parser.add_argument("slugs", nargs="*", metavar="slug", help=", ".join(one.slug for one in SCENARIOS))
    parser.add_argument("--calls", type=int, default=20, help="calls at once (20)")
    parser.add_argument("--seed", type=int, default=None, help="chooses victims and moments (random)")
    parser.add_argument("--short", action="store_true", help="shorter outages and conversations")
    asked = parser.parse_args()
    unknown = set(asked.slugs) - {one.slug for one in SCENARIOS}
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    chosen = [one for one in SCENARIOS if not asked.slugs or one.slug in asked.slugs]
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    return asyncio.run(_run(chosen, asked.calls, seed, asked.short))


async def _run(chosen: list[Scenario], calls: int, seed: int, is_short: bool) -> int:
    load_before, rows = os.getloadavg()[0], []
    for scenario in chosen:
        sys.stderr.write(f"{scenario.slug}: {calls} calls, seed {seed}\n")
        rows.append(await _row(scenario, calls, seed, is_short))
        write(report(rows, load_before), FOLDER)
    sys.stdout.write(markdown(report(rows, load_before)))
    return 1 if any(row.misses for row in rows) else 0


async def _row(scenario: Scenario, calls: int, seed: int, is_short: bool) -> Row:
    folder = FOLDER / scenario.slug
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    async with scene(folder.absolute(), workers=scenario.workers) as made:
        drill = Drill(made, scenario.slug, calls=calls, seed=seed, is_short=is_short)
        history = await play(scenario, drill)
    dossier.write(history, folder / "calls")
    found = examine(history)
    return Row(
        slug=scenario.slug,
        figure=scenario.figure,
        seed=seed,
        lasted_s=round(time.monotonic() - began, 1),
        found=found,
        misses=tuple(misses(scenario, history, found, timed=True)),
    )


if __name__ == "__main__":
    sys.exit(main())
