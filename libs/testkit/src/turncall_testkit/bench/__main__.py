"""``python -m turncall_testkit.bench [slug …]``: measures, prints the table, writes the report."""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from turncall_testkit.bench import measured
from turncall_testkit.bench.benches import BENCHES
from turncall_testkit.bench.calls import TINY, smart_turn
from turncall_testkit.bench.cold import cold
from turncall_testkit.bench.demo import demo
from turncall_testkit.bench.measured import Measured, Size
from turncall_testkit.bench.placement import placement
from turncall_testkit.bench.plant import plant
from turncall_testkit.bench.report import Row, markdown, report, write
from turncall_testkit.bench.studio import Studio, studio
from turncall_testkit.bench.voices import VOICES

FOLDER: Final = Path(".turncall/bench")
ALONE: Final = {"cold": cold, "placement": placement}
"""Benches that start what they measure."""
DEMO: Final = "demo"
"""Installs everything anew over the network, so it is to be asked for."""
SMART: Final = "smart_turn"
SLUGS: Final = (*ALONE, *BENCHES, *VOICES, SMART, DEMO)
ROOM: Final = "room"
"""Of the folder: what is started and its logs, until the next run."""


def main() -> int:
    """0 when everything was measured, whatever the figures."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure on real servers and processes.")
    parser.add_argument("slugs", nargs="*", metavar="slug", help=", ".join(SLUGS))
    parser.add_argument("--rounds", type=int, default=5, help="of each figure; the median counts (5)")
    parser.add_argument("--size", type=float, default=1.0, help="1 is full size; less is sooner and less exact")
    parser.add_argument("--no-profile", action="store_true", help="leave out the round under py-spy")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the reports ({FOLDER})")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    unknown = set(asked.slugs) - set(SLUGS)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    size = Size(rounds=asked.rounds, share=asked.size, has_profile=not asked.no_profile)
    chosen = [slug for slug in SLUGS if slug in asked.slugs or not (asked.slugs or slug == DEMO)]
    return asyncio.run(_run(chosen, size, folder))


async def _run(chosen: list[str], size: Size, folder: Path) -> int:
    load_before, rows, room = os.getloadavg()[0], list[Row](), folder / ROOM
    shutil.rmtree(room, ignore_errors=True)

    async def bench(slug: str, measuring: Awaitable[Measured]) -> None:
        sys.stderr.write(f"{slug}: {size.rounds} rounds\n")
        began_s = time.monotonic()
        told = await measuring
        rows.append(measured.row(slug, told, lasted_s=time.monotonic() - began_s))
        write(report(rows[-1:], load_before), folder / slug)
        write(report(rows, load_before), folder)

    for slug in chosen:
        if slug in ALONE:
            await bench(slug, ALONE[slug](size, room))
    if of_control := [slug for slug in chosen if slug in BENCHES]:
        async with plant(room / "plant") as made:
            for slug in of_control:
                await bench(slug, BENCHES[slug](made, size, room))
    if of_voices := [slug for slug in chosen if slug in VOICES]:
        async with studio(room / "studio") as speaking:
            await _loaded(speaking, size)
            for slug in of_voices:
                await bench(slug, VOICES[slug](speaking, size, room))
    if SMART in chosen:
        async with studio(room / "smart-studio", "smart") as speaking:
            await _loaded(speaking, size)
            await bench(SMART, smart_turn(speaking, size, room))
    if DEMO in chosen:
        await bench(DEMO, demo(size, room))
    sys.stdout.write(markdown(report(rows, load_before)))
    return 0


async def _loaded(speaking: Studio, size: Size) -> None:
    """A worker that has just started still loads vendors' code, which takes CPU and memory once."""
    if size.share >= TINY:
        await speaking.rig.loaded()


if __name__ == "__main__":
    sys.exit(main())
