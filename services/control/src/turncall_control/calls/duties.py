"""What a process of the control plane does for calls besides answering requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from turncall_bus.bus import Subscription
from turncall_control import workers
from turncall_control.calls import concurrency, lookup, moving, salvage, settlement, strays
from turncall_control.calls.handoffs import Handoffs
from turncall_control.calls.hangups import HangUps
from turncall_control.calls.projector import Projector
from turncall_control.calls.reaper import REAP_EVERY_S, Reaper
from turncall_control.calls.redirects import JUDGE_EVERY_S, Redirects
from turncall_control.calls.spools import Spools
from turncall_control.calls.strays import Strays
from turncall_control.calls.transferring import Transfers
from turncall_control.duty import repeated
from turncall_control.plane import Plane
from turncall_proto.subjects import CONTROL_QUEUE, act
from turncall_runtime import metrics

SWEEP_EVERY_S: Final = 1.0
SALVAGE_EVERY_S: Final = 2.0
LOOK_EVERY_S: Final = 0.2
LEARN_ROUTES_EVERY_S: Final = 10.0
ROUTES_SETTLE_S: Final = 0.5
"""Changes come in bunches; all numbers are looked at once for those of half a second."""


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
        repeated("looking_at_the_bus", look, LOOK_EVERY_S),
    ):
        yield


@asynccontextmanager
async def project_facts(plane: Plane) -> AsyncIterator[None]:
    """Turns the workers' facts into rows."""
    projector = Projector(plane.database.pool, plane.bus, plane.metrics, plane.accounts.installation)
    async with _closed(await projector.start()):
        yield


@asynccontextmanager
async def learn_routes(plane: Plane) -> AsyncIterator[None]:
    """Keeps in mind what answers each number, for when Postgres is away."""
    is_stale = plane.routing.is_stale

    async def until_stale(longest_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(is_stale.wait(), longest_s)
        await asyncio.sleep(ROUTES_SETTLE_S if is_stale.is_set() else 0)
        is_stale.clear()

    async with repeated("routes", lambda: lookup.learn_routes(plane), LEARN_ROUTES_EVERY_S, until_stale):
        yield


@asynccontextmanager
async def settle_calls(plane: Plane) -> AsyncIterator[None]:
    """Says the last word on calls whose time has come, and tells workers what they may delete."""
    spools = Spools(plane.database.pool)
    async with (
        _closed(await plane.bus.serve(act("settlement"), spools.answer, queue=CONTROL_QUEUE, at_once=4)),
        repeated("settlement", lambda: settlement.sweep(plane.database.pool, plane.bus), SWEEP_EVERY_S),
    ):
        yield


@asynccontextmanager
async def keep_recordings(plane: Plane) -> AsyncIterator[None]:
    """Tells of recordings whose worker was lost, and moves them into their projects' own buckets."""
    pool, shelves = plane.database.pool, plane.shelves
    async with (
        repeated("salvage", lambda: salvage.sweep(pool, shelves, plane.bus), SALVAGE_EVERY_S),
        repeated("buckets", lambda: moving.sweep(pool, plane.blobs, shelves), SALVAGE_EVERY_S),
    ):
        yield


@asynccontextmanager
async def hang_up_calls(plane: Plane) -> AsyncIterator[None]:
    """Takes workers' wishes to hang up, and ends calls at their carriers."""
    hang_ups = HangUps(plane)
    async with (
        _closed(await plane.bus.serve(act("hang_up"), hang_ups.answer, queue=CONTROL_QUEUE)),
        repeated("hang_ups", hang_ups.attend, SWEEP_EVERY_S, hang_ups.wait),
    ):
        yield


@asynccontextmanager
async def hand_off_calls(plane: Plane) -> AsyncIterator[None]:
    """Plans how calls go on with another agent."""
    async with _closed(await plane.bus.serve(act("handoff"), Handoffs(plane).answer, queue=CONTROL_QUEUE)):
        yield


@asynccontextmanager
async def transfer_calls(plane: Plane) -> AsyncIterator[None]:
    """Connects callers to persons, and brings them back."""
    transfers = Transfers(plane)
    async with (
        _closed(await plane.bus.serve(act("transfer"), transfers.answer, queue=CONTROL_QUEUE)),
        repeated("transfers", transfers.attend, SWEEP_EVERY_S, transfers.wait),
    ):
        yield


@asynccontextmanager
async def keep_calls(plane: Plane) -> AsyncIterator[None]:
    """Brings calls of silent workers to other ones, and ends calls that nobody looks after."""
    async with (
        repeated("redirects", Redirects(plane).attend, JUDGE_EVERY_S),
        repeated("reaper", Reaper(plane).attend, REAP_EVERY_S),
        repeated("strays", Strays(plane).attend, strays.LOOK_EVERY_S),
    ):
        yield


@asynccontextmanager
async def count_calls(plane: Plane) -> AsyncIterator[None]:
    """Keeps the counts of live calls true, against which limits are held."""
    pool, redis = plane.database.pool, plane.redis
    async with (
        repeated("concurrency_release", lambda: concurrency.release(pool, redis), concurrency.RELEASE_EVERY_S),
        repeated("concurrency_renewal", lambda: concurrency.renew(pool, redis), concurrency.RENEW_EVERY_S),
    ):
        yield


@asynccontextmanager
async def _closed(subscription: Subscription) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await subscription.close()
