"""Fifty callers a second over five workers, of which two are overloaded: who gets the calls, and how soon.

The control plane is real, and asked as a carrier asks, with signed webhooks; the workers beat and answer offers over
NATS as real ones do, and have no sockets behind them.
"""

import asyncio
import re
import signal
from collections import Counter
from typing import Final

import aiohttp
from msgspec import Struct

from turncall_proto.placement import SUSPECT_AFTER_S
from turncall_testkit.arrivals import Carrier, simulated
from turncall_testkit.chaos.scene import ACCOUNT, Scene
from turncall_testkit.relay import HOST

SLUG: Final = "placement"
FIGURE: Final = "50 calls/s over five workers: two overloaded ones get none, p99 under 300 ms"
RATE_PER_S: Final = 50
LASTS_S: Final = 20.0
P99_MS: Final = 300.0
SLOTS: Final = 2_000
LAGS_MS: Final = (1.0, 1.0, 1.0, 80.0, 150.0)
"""Event loop lag that each worker tells; above 20 ms audio comes late."""
OVERLOADED_MS: Final = 20.0
_WORKER: Final = re.compile(r'url="ws://simulated-(\d)')


class Placed(Struct, frozen=True, kw_only=True):
    """Where each call went (an index into `LAGS_MS`; None: nowhere), and how long its webhook took."""

    workers: tuple[int | None, ...]
    took_ms: tuple[float, ...]

    @property
    def misplaced(self) -> int:
        """How many calls went to workers that are late."""
        return sum(index is not None and _is_late(index) for index in self.workers)

    def measures(self) -> dict[str, float]:
        """What the report shows."""
        ordered = sorted(self.took_ms)
        return {
            "calls": len(ordered),
            "p50, ms": round(ordered[len(ordered) // 2], 1),
            "p99, ms": round(ordered[int(0.99 * (len(ordered) - 1))], 1),
            "placed on overloaded workers": self.misplaced,
        }

    def faults(self) -> list[str]:
        """Why the figure was missed."""
        counts = Counter(self.workers)
        faults = [
            f"{counts[index]} calls went to the worker whose loop is {lag_ms:g} ms late"
            for index, lag_ms in enumerate(LAGS_MS)
            if _is_late(index) and counts[index]
        ]
        faults += [f"{counts[None]} calls found no worker"] * bool(counts[None])
        p99_ms = self.measures()["p99, ms"]
        return faults + [f"p99 was {p99_ms:g} ms"] * (p99_ms >= P99_MS)


def _is_late(index: int) -> bool:
    return LAGS_MS[index] > OVERLOADED_MS


async def place(scene: Scene, lasts_s: float = LASTS_S) -> Placed:
    """Has the installation's own workers killed, and callers arrive for ``lasts_s``."""
    for worker in scene.workers:
        worker.signal(signal.SIGKILL)
        await worker.ended(5.0)
    media_urls = tuple(f"ws://simulated-{index}:1" for index in range(len(LAGS_MS)))
    async with simulated(scene.servers.urls.nats_url, media_urls, slots=SLOTS, lags_ms=LAGS_MS):
        await asyncio.sleep(2 * SUSPECT_AFTER_S)
        return await _arrive(scene, lasts_s)


async def _arrive(scene: Scene, lasts_s: float) -> Placed:
    """Callers come at their times, whatever became of those before them."""
    loop = asyncio.get_running_loop()
    ports = [scene.installation.ports[replica] for replica in scene.controls]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15.0)) as client, asyncio.TaskGroup() as group:
        began_s, asking = loop.time(), []
        for number in range(round(RATE_PER_S * lasts_s)):
            await asyncio.sleep(max(0.0, began_s + number / RATE_PER_S - loop.time()))
            asking.append(group.create_task(_ring(client, scene, ports[number % len(ports)], number)))
    answers = [task.result() for task in asking]
    return Placed(workers=tuple(index for index, _ in answers), took_ms=tuple(took_ms for _, took_ms in answers))


async def _ring(client: aiohttp.ClientSession, scene: Scene, port: int, number: int) -> tuple[int | None, float]:
    carrier = Carrier(account=ACCOUNT, public_url=f"http://{HOST}:{scene.edges.control.port}")
    began_s = asyncio.get_running_loop().time()
    document = await carrier.ring(
        client,
        f"http://{HOST}:{port}",
        sid=f"CA{number:032x}",
        caller=scene.next_caller(),
        called=scene.tenants[0].number.e164,
    )
    found = _WORKER.search(document)
    return int(found[1]) if found else None, 1000 * (asyncio.get_running_loop().time() - began_s)
