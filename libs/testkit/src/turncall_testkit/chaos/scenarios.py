"""The scenarios: how each part is taken away from live calls."""

import asyncio
import signal
from typing import Final

from turncall_phone.faults import LossFault, RestFault
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.history import History
from turncall_testkit.chaos.scenario import Scenario

CALLS_PATH: Final = "/Calls/"


async def _kill_bus(drill: Drill) -> None:
    await drill.dial()
    await drill.all_have_spoken()
    for _ in range(3):
        await drill.a_moment(0.5, 3.0)
        drill.strike("NATS killed")
        await drill.scene.servers.nats.kill()
        await asyncio.sleep(1.0)
        await drill.scene.servers.nats.start()


async def _take_bus_away(drill: Drill) -> None:
    await drill.dial()
    await drill.all_have_spoken()
    drill.strike("NATS away")
    await drill.scene.servers.nats.kill()
    back_at = asyncio.get_running_loop().time() + (8.0 if drill.is_short else 30.0)
    await drill.dial(max(1, drill.count // 2))
    await asyncio.sleep(max(0.0, back_at - asyncio.get_running_loop().time()))
    await drill.scene.servers.nats.start()


async def _take_database_away(drill: Drill) -> None:
    await drill.dial()
    await drill.all_have_spoken()
    drill.strike("Postgres killed")
    await drill.scene.servers.postgres.kill()
    back_at = asyncio.get_running_loop().time() + (8.0 if drill.is_short else 60.0)
    await drill.dial(max(1, drill.count // 4))
    await asyncio.sleep(max(0.0, back_at - asyncio.get_running_loop().time()))
    await drill.scene.servers.postgres.start()


async def _fail_helpers(drill: Drill) -> None:
    drill.scene.carrier.faults.add(RestFault(path=CALLS_PATH, status_code=503, times=3))
    await drill.dial()
    await drill.all_have_spoken()
    drill.strike("Valkey and S3 killed")
    await drill.scene.servers.redis.kill()
    await drill.scene.servers.s3.kill()
    await drill.all_ended()
    await drill.scene.servers.s3.start()
    await drill.scene.servers.redis.start()


def _recordings_lack(history: History) -> list[str]:
    faults = []
    for call in history.calls:
        lasted_ms = call.view.duration_ms or 0 if call.view is not None else 0
        kept_ms = call.recording_ms or 0
        if kept_ms < 0.9 * lasted_ms:
            faults.append(f"{call.call_id}: {kept_ms} ms are recorded of {lasted_ms} ms")
    return faults


async def _kill_worker(drill: Drill, loss: LossFault | None) -> None:
    """All calls are on one worker; a second one joins once they are, as a supervisor would scale out."""
    await drill.dial()
    if len(drill.scene.workers) == 1:
        await drill.scene.installation.add_worker()
    await drill.all_have_spoken()
    await drill.a_moment(0.0, 4.0)
    victim = drill.busiest()
    if loss is not None:
        drill.scene.carrier.faults.add(loss)
    drill.strike(f"{victim.name} killed")
    victim.signal(signal.SIGKILL)
    await victim.ended(5.0)
    await asyncio.sleep(5.0)
    drill.scene.carrier.faults.clear()
    await drill.scene.installation.start_again(victim)


async def _worker_killed(drill: Drill) -> None:
    await _kill_worker(drill, None)


async def _worker_killed_in_silence(drill: Drill) -> None:
    await _kill_worker(drill, LossFault(effect="no_action", times=drill.count))


async def _worker_killed_unnoticed(drill: Drill) -> None:
    await _kill_worker(drill, LossFault(effect="unnoticed", times=drill.count))


async def _freeze_worker(drill: Drill) -> None:
    await drill.dial()
    if len(drill.scene.workers) == 1:
        await drill.scene.installation.add_worker()
    await drill.all_have_spoken()
    await drill.a_moment(0.0, 4.0)
    victim = drill.busiest()
    drill.strike(f"{victim.name} frozen")
    victim.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(10.0)
    finally:
        victim.signal(signal.SIGCONT)


async def _roll(drill: Drill) -> None:
    """Each worker is told to leave after its successor takes calls, as a deployment does."""
    await drill.dial()
    await drill.all_have_spoken()
    for worker in list(drill.scene.workers):
        await drill.scene.installation.add_worker()
        drill.strike(f"{worker.name} drained")
        worker.signal(signal.SIGTERM)
        await worker.ended(180.0)


def _new_calls_unanswered(history: History) -> list[str]:
    return [f"{call.call_id}: nobody ever spoke to it" for call in history.calls if not call.told.said]


WORKER_KILLED: Final = Scenario(
    slug="worker-killed",
    figure="all heard again within 2 s",
    act=_worker_killed,
    gap_s=2.0,
)
BUS_KILLED: Final = Scenario(
    slug="bus-killed", figure="nothing lost or doubled, no call interrupted", act=_kill_bus, is_uninterrupted=True
)
DATABASE_AWAY: Final = Scenario(
    slug="database-away",
    figure="no call affected, new ones answered",
    act=_take_database_away,
    is_uninterrupted=True,
    also=_new_calls_unanswered,
)
HELPERS_FAILING: Final = Scenario(
    slug="helpers-failing",
    figure="no call dropped, every recording complete",
    act=_fail_helpers,
    is_uninterrupted=True,
    with_recordings=True,
    also=_recordings_lack,
)
SCENARIOS: Final = (
    WORKER_KILLED,
    Scenario(
        slug="worker-killed-no-action",
        figure="all heard again within 4 s",
        act=_worker_killed_in_silence,
        gap_s=4.0,
    ),
    Scenario(
        slug="worker-killed-unnoticed",
        figure="all heard again within 4 s",
        act=_worker_killed_unnoticed,
        gap_s=4.0,
    ),
    Scenario(slug="worker-frozen", figure="all heard again within 4 s", act=_freeze_worker, gap_s=4.0),
    BUS_KILLED,
    Scenario(
        slug="bus-away",
        figure="live calls go on, new ones wait and are served",
        act=_take_bus_away,
        is_uninterrupted=True,
        also=_new_calls_unanswered,
    ),
    DATABASE_AWAY,
    HELPERS_FAILING,
    Scenario(
        slug="rolling-deploy",
        figure="none dropped, 95 % with a new worker within 1 s",
        act=_roll,
        away_s=1.0,
    ),
)
