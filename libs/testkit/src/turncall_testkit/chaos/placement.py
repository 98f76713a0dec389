"""Fifty callers a second over five workers, of which two are overloaded: who gets the calls, and how soon.

The control plane is real, and asked as a carrier asks, with signed webhooks; the workers beat and answer offers over
NATS as real ones do, and have no sockets behind them.
"""

import asyncio
import re
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import Final

import aiohttp
from msgspec import Struct

from turncall_bus import nats
from turncall_bus.bus import Bus
from turncall_phone.signature import SIGNATURE_HEADER, sign
from turncall_proto import ids, subjects
from turncall_proto.codec import decode, encode
from turncall_proto.ids import WorkerId
from turncall_proto.placement import BEAT_EVERY_S, SUSPECT_AFTER_S, CallOffer, OfferReply, WorkerBeat
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
PATH: Final = "/webhooks/twilio/voice/inbound"
_WORKER: Final = re.compile(r'url="ws://simulated-(\d)')


class Placed(Struct, frozen=True, kw_only=True):
    """Where each call went (an index into `LAGS_MS`; None: nowhere), and how long its webhook took."""

    workers: tuple[int | None, ...]
    took_ms: tuple[float, ...]

    def measures(self) -> dict[str, float]:
        """What the report shows."""
        ordered = sorted(self.took_ms)
        return {
            "calls": len(ordered),
            "p50, ms": round(ordered[len(ordered) // 2], 1),
            "p99, ms": round(ordered[int(0.99 * (len(ordered) - 1))], 1),
            "placed on overloaded workers": len(
                [index for index in self.workers if index is not None and _is_late(index)]
            ),
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


class _Worker:
    """Beats and accepts. Its media address tells its ``index``."""

    def __init__(self, index: int, bus: Bus) -> None:
        self.id = WorkerId(ids.mint(ids.WORKER))
        self._index = index
        self._bus = bus
        self._taken: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._bus.serve(subjects.offer(self.id), self._answer)
        while True:
            await self._bus.tell(subjects.beat("calls", self.id), encode(self._beat()))
            await asyncio.sleep(BEAT_EVERY_S)

    async def _answer(self, data: bytes) -> bytes:
        self._taken.add(decode(data, CallOffer).plan.call_id)
        return encode(OfferReply(worker=self.id, answer="accepted"))

    def _beat(self) -> WorkerBeat:
        return WorkerBeat(
            worker=self.id,
            pool="calls",
            slots_total=SLOTS,
            slots_used=len(self._taken),
            lag_ms=LAGS_MS[self._index],
            version="simulated",
            media_url=f"ws://simulated-{self._index}:1",
        )


async def place(scene: Scene, lasts_s: float = LASTS_S) -> Placed:
    """Has the installation's own workers killed, and callers arrive for ``lasts_s``."""
    for worker in scene.workers:
        worker.signal(signal.SIGKILL)
        await worker.ended(5.0)
    async with AsyncExitStack() as stack:
        for index in range(len(LAGS_MS)):
            bus = await nats.connect(scene.servers.urls.nats_url, name=f"simulated {index}")
            stack.push_async_callback(bus.close)
            running = asyncio.create_task(_Worker(index, bus).run())
            stack.push_async_callback(_ended, running)
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
    form = {
        "AccountSid": ACCOUNT.sid,
        "CallSid": f"CA{number:032x}",
        "CallStatus": "ringing",
        "From": scene.next_caller(),
        "To": scene.number.e164,
    }
    signed = sign(ACCOUNT.auth_token, f"http://{HOST}:{scene.edges.control.port}{PATH}", tuple(form.items()))
    began_s = asyncio.get_running_loop().time()
    async with client.post(f"http://{HOST}:{port}{PATH}", data=form, headers={SIGNATURE_HEADER: signed}) as answer:
        document = await answer.text()
    found = _WORKER.search(document)
    return int(found[1]) if found else None, 1000 * (asyncio.get_running_loop().time() - began_s)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
