"""How NATS, Postgres and the helpers are taken away from live calls, and given back."""

import asyncio
from typing import Final

from turncall_phone.faults import RestFault
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.gaps import FRAME_MS, bursts, loud
from turncall_testkit.chaos.history import History

CALLS_PATH: Final = "/Calls/"
SHORT_S: Final = 8.0
SLOW_S: Final = 0.2
OPENED_WITHIN_MS: Final = 1_000
"""From the answer to the media socket, where a recording begins."""


async def kill_bus(drill: Drill) -> None:
    """NATS is killed three times and back after a second."""
    await drill.dial()
    await drill.all_have_spoken()
    for _ in range(3):
        await drill.a_moment(0.5, 3.0)
        drill.strike("NATS killed")
        await drill.scene.servers.nats.kill()
        await asyncio.sleep(1.0)
        await drill.scene.servers.nats.start()


async def take_bus_away(drill: Drill) -> None:
    """NATS is gone for 30 s, in which half as many new callers arrive."""
    await drill.dial()
    await drill.all_have_spoken()
    drill.strike("NATS away")
    await drill.scene.servers.nats.kill()
    back_at = asyncio.get_running_loop().time() + (SHORT_S if drill.is_short else 30.0)
    await drill.dial(max(1, drill.count // 2))
    await asyncio.sleep(max(0.0, back_at - asyncio.get_running_loop().time()))
    await drill.scene.servers.nats.start()


async def take_database_away(drill: Drill) -> None:
    """Postgres is gone for a minute, in which a quarter as many new callers arrive."""
    await drill.dial()
    await drill.all_have_spoken()
    drill.strike("Postgres killed")
    await drill.scene.servers.postgres.kill()
    back_at = asyncio.get_running_loop().time() + (SHORT_S if drill.is_short else 60.0)
    await drill.dial(max(1, drill.count // 4))
    await asyncio.sleep(max(0.0, back_at - asyncio.get_running_loop().time()))
    await drill.scene.servers.postgres.start()


async def fail_helpers(drill: Drill) -> None:
    """Valkey and S3 are first slow, then silent and resetting, then dead until the calls are over; hang-ups are refused
    three times and answered late twice."""
    scene, edges = drill.scene, drill.scene.edges
    scene.carrier.faults.add(RestFault(path=CALLS_PATH, status_code=503, times=3))
    scene.carrier.faults.add(RestFault(path=CALLS_PATH, status_code=504, is_done=True, delay_s=2.0, times=2))
    edges.redis.latency_s = edges.s3.latency_s = SLOW_S
    await drill.dial()
    await drill.all_have_spoken()
    drill.strike("Valkey silent, S3 resets")
    edges.redis.latency_s = edges.s3.latency_s = 0.0
    edges.redis.silence()
    edges.s3.refuse()
    await asyncio.sleep(3.0)
    drill.strike("Valkey and S3 killed")
    await scene.servers.redis.kill()
    await scene.servers.s3.kill()
    edges.redis.resume()
    edges.s3.resume()
    await drill.all_ended()
    await scene.servers.s3.start()
    await scene.servers.redis.start()
    scene.carrier.faults.clear()


def recordings_lack(history: History) -> list[str]:
    """Calls whose recording in the store ends before the last sound of the call.

    The length of the call does not count: where the carrier is slow to hang up, nobody speaks any more.
    """
    faults = []
    for call in history.calls:
        sounds = [*bursts(loud(call.heard)), *bursts(loud(call.said))]
        until_ms = max((stop for _, stop in sounds), default=0) * FRAME_MS
        if (call.recording_ms or 0) < until_ms - OPENED_WITHIN_MS:
            faults.append(f"{call.call_id}: {call.recording_ms or 0} ms are recorded of {until_ms} ms")
    return faults


def unanswered(history: History) -> list[str]:
    """Calls that no agent ever spoke with."""
    return [f"{call.call_id}: nobody ever spoke to it" for call in history.calls if not call.told.said]
