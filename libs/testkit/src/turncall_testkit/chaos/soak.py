"""``python -m turncall_testkit.chaos.soak``: calls for an hour, a fault a minute; what grows, and who is left alone."""

import argparse
import asyncio
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from turncall_phone.faults import LossFault
from turncall_testkit.chaos import dossier, machine, outages, workers
from turncall_testkit.chaos.checker import Findings, examine
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.growth import Growth, Sampler
from turncall_testkit.chaos.report import Row, markdown, report, write
from turncall_testkit.chaos.scenario import Scenario, misses, play
from turncall_testkit.chaos.scenarios import MANY
from turncall_testkit.chaos.scene import Scene, scene

FOLDER: Final = Path(".turncall/soak")
FIGURE: Final = "memory and descriptors flat, no call without an owner for 60 s, every call reaches its end"
WORKERS: Final = 3
REPLICAS: Final = 2
OWNERLESS_MS: Final = 60_000
FAULT_EVERY_S: Final = 60.0

FAULTS: Final = (
    Scenario(slug="worker-killed", figure=FIGURE, act=workers.kill()),
    Scenario(slug="bus-killed", figure=FIGURE, act=outages.kill_bus),
    Scenario(slug="worker-frozen", figure=FIGURE, act=workers.freeze),
    Scenario(slug="database-away", figure=FIGURE, act=outages.take_database_away),
    Scenario(slug="helpers-failing", figure=FIGURE, act=outages.fail_helpers),
    Scenario(slug="bus-away", figure=FIGURE, act=outages.take_bus_away),
    Scenario(slug="worker-unnoticed", figure=FIGURE, act=workers.kill(LossFault(effect="unnoticed", times=MANY))),
    Scenario(slug="worker-drained", figure=FIGURE, act=workers.drain),
)


class Round(Struct, frozen=True, kw_only=True):
    """One fault of a soak and what it did to the calls of its minute."""

    slug: str
    seed: int
    found: Findings
    misses: tuple[str, ...]


def main() -> int:
    """0 when nothing grew and every call was served."""
    parser = argparse.ArgumentParser(prog="make soak", description="Calls for an hour, a fault a minute.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--calls", type=int, default=10, help="calls a minute (10)")
    parser.add_argument("--seed", type=int, default=None, help="chooses victims and moments (random)")
    asked = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    return asyncio.run(_soak(asked.minutes, asked.calls, seed))


async def _soak(minutes: float, calls: int, seed: int) -> int:
    load_before = os.getloadavg()[0]
    shutil.rmtree(FOLDER, ignore_errors=True)
    async with (
        scene(FOLDER.absolute() / "house", workers=WORKERS, replicas=REPLICAS) as made,
        machine.watching() as watch,
        Sampler(lambda: _pids(made)) as sampler,
    ):
        rounds = await _rounds(made, minutes, calls, seed)
        grown = sampler.growth()
    row = _row(rounds, grown, watch.load(), minutes, seed)
    told = report([row], load_before)
    write(told, FOLDER)
    (FOLDER / "rounds.json").write_bytes(msgspec.json.format(msgspec.json.encode({"rounds": rounds, "grown": grown})))
    sys.stdout.write(markdown(told))
    return 1 if row.misses else 0


async def _rounds(made: Scene, minutes: float, calls: int, seed: int) -> list[Round]:
    loop = asyncio.get_running_loop()
    until_s, rounds = loop.time() + 60 * minutes, list[Round]()
    while loop.time() < until_s:
        began_s, fault = loop.time(), FAULTS[len(rounds) % len(FAULTS)]
        drill = Drill(made, fault.slug, calls=calls, seed=seed + len(rounds), is_short=True)
        history = await play(fault, drill)
        found = examine(history)
        faults = tuple(misses(fault, history, found, timed=False))
        rounds.append(Round(slug=fault.slug, seed=drill.seed, found=found, misses=faults))
        sys.stderr.write(
            f"{len(rounds)} {fault.slug}: {found.reached_end} of {found.calls}{'; '.join(('', *faults))}\n"
        )
        if faults:
            dossier.write(history, FOLDER / f"{len(rounds)}-{fault.slug}")
        made.testimony.forget(call.call_id for call in history.calls)
        await asyncio.sleep(max(0.0, began_s + FAULT_EVERY_S - loop.time()))
    return rounds


def _pids(made: Scene) -> dict[str, int]:
    """What is watched: both planes as they run at this moment."""
    return {process.name: process.pid for process in (*made.controls, *made.workers)}


def _row(rounds: list[Round], grown: tuple[Growth, ...], load: machine.Load, minutes: float, seed: int) -> Row:
    found = _together([one.found for one in rounds])
    faults = [f"{one.slug} (seed {one.seed}): {why}" for one in rounds for why in one.misses]
    if found.ownerless_ms >= OWNERLESS_MS:
        faults.append(f"a call had no owner for {found.ownerless_ms / 1000:.0f} s")
    faults += [str(one) for one in grown if not one.is_flat]
    most = max(grown, key=lambda one: one.share, default=None)
    return Row(
        slug="soak",
        figure=FIGURE,
        seed=seed,
        lasted_s=60 * minutes,
        load=load,
        found=found,
        measures={
            "faults": len(rounds),
            "longest without an owner, s": found.ownerless_ms / 1000,
            "processes watched": len(grown),
            "most grown, %": round(100 * most.share, 1) if most else 0.0,
            "most descriptors gained": max((one.descriptors_gained for one in grown), default=0),
        },
        misses=tuple(faults),
    )


def _together(found: list[Findings]) -> Findings:
    """Sums of counts, all of the lists, the longest of times."""
    fields: dict[str, object] = {}
    for name in Findings.__struct_fields__:
        values = [getattr(one, name) for one in found]
        if name == "ownerless_ms":
            fields[name] = max(values, default=0)
        elif values and isinstance(values[0], tuple):
            fields[name] = tuple(item for value in values for item in value)
        else:
            fields[name] = sum(values)
    return msgspec.convert(fields, Findings)


if __name__ == "__main__":
    sys.exit(main())
