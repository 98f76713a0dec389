"""What a process of the control plane does for calls besides answering requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from turncall_bus.bus import Subscription
from turncall_control import workers
from turncall_control.calls import admission, concurrency, settlement
from turncall_control.calls.hangups import HangUps
from turncall_control.calls.projector import Projector
from turncall_control.calls.reaper import REAP_EVERY_S, Reaper
from turncall_control.calls.redirects import JUDGE_EVERY_S, Redirects
from turncall_control.calls.spools import Spools
from turncall_control.plane import Plane
from turncall_proto.subjects import CONTROL_QUEUE, act
from turncall_runtime import logs, metrics

SWEEP_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 0.2
LEARN_ROUTES_EVERY_S: Final = 10.0

log = logs.logger(__name__)


@asynccontextmanager
async def watch_workers(plane: Plane) -> AsyncIterator[None]:
    """Listens to the workers' beats."""
    metrics.watch(
        plane.metrics,
        "turncall_workers_alive",
        "Media workers of the calls pool heard from lately.",
        lambda: len(plane.workers.alive("calls")),
    )

    async def look() -> None:
        plane.workers.look(plane.bus.is_connected)

    async with (
        _closed(await workers.watch(plane.bus, plane.workers)),
        _repeated("looking_at_the_bus", look, LOOK_EVERY_S),
    ):
        yield


@asynccontextmanager
async def project_facts(plane: Plane) -> AsyncIterator[None]:
    """Turns the workers' facts into rows."""
    accounts = {name: carrier.account for name, carrier in plane.carriers.items()}
    async with _closed(await Projector(plane.database.pool, plane.bus, plane.metrics, accounts).start()):
        yield


@asynccontextmanager
async def learn_routes(plane: Plane) -> AsyncIterator[None]:
    """Keeps in mind what answers each number, for when Postgres is away."""
    async with _repeated(
        "routes", lambda: admission.learn_routes(plane.database.pool, plane.routing), LEARN_ROUTES_EVERY_S
    ):
        yield


@asynccontextmanager
async def settle_calls(plane: Plane) -> AsyncIterator[None]:
    """Says the last word on calls whose time has come, and tells workers what they may delete."""
    spools = Spools(plane.database.pool)
    async with (
        _closed(await plane.bus.serve(act("settlement"), spools.answer, queue=CONTROL_QUEUE, at_once=4)),
        _repeated("settlement", lambda: settlement.sweep(plane.database.pool, plane.bus), SWEEP_EVERY_S),
    ):
        yield


@asynccontextmanager
async def hang_up_calls(plane: Plane) -> AsyncIterator[None]:
    """Takes workers' wishes to hang up, and ends calls at their carriers."""
    hang_ups = HangUps(plane)
    async with (
        _closed(await plane.bus.serve(act("hang_up"), hang_ups.answer, queue=CONTROL_QUEUE)),
        _repeated("hang_ups", hang_ups.attend, SWEEP_EVERY_S, hang_ups.wait),
    ):
        yield


@asynccontextmanager
async def keep_calls(plane: Plane) -> AsyncIterator[None]:
    """Brings calls of silent workers to other ones, and ends calls that nobody looks after."""
    async with (
        _repeated("redirects", Redirects(plane).attend, JUDGE_EVERY_S),
        _repeated("reaper", Reaper(plane).attend, REAP_EVERY_S),
    ):
        yield


@asynccontextmanager
async def count_calls(plane: Plane) -> AsyncIterator[None]:
    """Keeps the counts of live calls true, against which limits are held."""
    pool, redis = plane.database.pool, plane.redis
    async with (
        _repeated("concurrency_release", lambda: concurrency.release(pool, redis), concurrency.RELEASE_EVERY_S),
        _repeated("concurrency_renewal", lambda: concurrency.renew(pool, redis), concurrency.RENEW_EVERY_S),
    ):
        yield


@asynccontextmanager
async def _closed(subscription: Subscription) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await subscription.close()


@asynccontextmanager
async def _repeated(
    duty: str,
    work: Callable[[], Awaitable[None]],
    every_s: float,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Does ``work`` again and again, every ``every_s`` or as soon as ``wait`` returns, until the end."""

    async def repeat() -> None:
        while True:
            try:
                await work()
            except Exception as error:
                log.error("duty.failed", duty=duty, exc_info=error)
            await wait(every_s)

    task = asyncio.create_task(repeat(), name=duty)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
