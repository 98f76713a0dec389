"""The bench of starts: everything from nothing, in an empty folder, on ports of its own."""

import time
from collections.abc import Awaitable
from pathlib import Path

from turncall.installation import Carrier as CarrierAccount
from turncall.installation import Installation
from turncall_devstack.stack import DevStack
from turncall_phone.carrier import Carrier
from turncall_testkit.bench.measured import Measured, Size, figure
from turncall_testkit.bench.plant import ACCOUNT
from turncall_testkit.bench.spending import loop_ms
from turncall_testkit.chaos.machine import watching


async def cold(size: Size, folder: Path) -> Measured:
    """Servers with their first databases; control behind a migrated one; a worker until it takes calls."""
    stacks_s, controls_s, workers_s, loops_ms = list[float](), list[float](), list[float](), list[tuple[float, float]]()
    async with watching() as watch:
        for number in range(size.rounds):
            loops_ms.append(loop_ms())
            room = folder / f"cold-{number}"
            began_s = time.monotonic()
            async with DevStack(room / "stack") as servers, Carrier([ACCOUNT]) as carrier:
                stacks_s.append(time.monotonic() - began_s)
                account = CarrierAccount(
                    base_url=carrier.base_url, account_sid=ACCOUNT.sid, auth_token=ACCOUNT.auth_token
                )
                async with Installation(room, servers.urls, servers.keys, account, workers=0) as installation:
                    controls_s.append(await _took_s(installation.add_control()))
                    workers_s.append(await _took_s(installation.add_worker()))
        load = watch.load()
    return Measured(
        unit="starts",
        figures=(
            figure("P9", "cold start", "servers", "s", stacks_s, 3, is_upward=False),
            figure("P9", "cold start", "control, until it answers", "s", controls_s, 3, is_upward=False),
            figure("P9", "cold start", "a worker, until it takes calls", "s", workers_s, 10, is_upward=False),
        ),
        capacities=({},),
        profile={},
        load=load,
        loops_ms=tuple(loops_ms),
        counted={"starts of everything": size.rounds},
    )


async def _took_s(starting: Awaitable[object]) -> float:
    began_s = time.monotonic()
    await starting
    return time.monotonic() - began_s
