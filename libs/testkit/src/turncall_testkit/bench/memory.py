"""The bench of what a worker keeps: of calls that were served, that were turned away, and that broke off."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from secrets import token_hex
from typing import Final

from turncall import procfs
from turncall.capacity.knee import Place, idle
from turncall_phone.crowd import Crowd, CrowdCaller, NotConnected, words
from turncall_testkit.bench import talk
from turncall_testkit.bench.calls import CYCLE_S, TINY
from turncall_testkit.bench.measured import Measured, Size, figure
from turncall_testkit.bench.spending import loop_ms, per_second, spent
from turncall_testkit.bench.studio import ACCOUNT, Studio
from turncall_testkit.chaos.machine import watching

SERVED: Final = 1_000
TURNED_AWAY: Final = 500
AT_ONCE: Final = 10
WARM: Final = 0.3
"""Of as many calls as are measured, before the first look: pools, arenas and the collector's rhythm have found their
level by then."""
GREETED_WITHIN_S: Final = 30.0
AGAIN_S: Final = 0.2


async def memory(studio: Studio, size: Size, folder: Path) -> Measured:
    """Short calls, ten at once, that hang up when they are greeted; then sockets with a wrong token, and streams that
    are of another call than they say. One round: memory that was kept once is not given back."""
    served, away = (max(AT_ONCE, round(count * size.share)) for count in (SERVED, TURNED_AWAY))
    pid, place = studio.worker.pid, studio.rig.place

    async def settled() -> None:
        if size.share >= TINY:
            await idle(pid)

    async def serve(crowd: Crowd) -> None:
        callers = [await _joined(crowd, place) for _ in range(AT_ONCE)]
        async with asyncio.timeout(GREETED_WITHIN_S):
            while not all(map(_is_greeted, callers)):  # noqa: ASYNC110 - what is heard has no event
                await asyncio.sleep(AGAIN_S)
        await crowd.leave()

    async def refuse(crowd: Crowd) -> None:
        url = await _placed(place, f"CA{token_hex(16)}")
        for _ in range(AT_ONCE):
            try:
                await crowd.join(f"{url}x", f"CA{token_hex(16)}")
            except NotConnected:
                continue
            raise AssertionError("a socket was opened with a wrong token")

    async def break_off(crowd: Crowd) -> None:
        callers = [
            await crowd.join(await _placed(place, f"CA{token_hex(16)}"), f"CA{token_hex(16)}") for _ in range(AT_ONCE)
        ]
        await asyncio.gather(*(caller.is_over.wait() for caller in callers))

    async with watching() as watch:
        slow = loop_ms()
        if size.share >= TINY:
            await studio.rig.loaded()
        await _repeated(serve, round(served * WARM))
        await settled()
        first_bytes, used = procfs.resident_bytes(pid), spent(studio.pids)
        await _repeated(serve, served)
        capacity = per_second(served, used, spent(studio.pids))
        await settled()
        kept = [procfs.resident_bytes(pid)]
        for act in (refuse, break_off):
            await _repeated(act, away)
            await settled()
            kept.append(procfs.resident_bytes(pid))
        load = watch.load()
    return Measured(
        unit="short calls",
        figures=(
            figure(
                "P7",
                "memory",
                f"growth over {served:,} calls",
                "%",
                [100 * (kept[0] / first_bytes - 1)],
                5,
                is_upward=False,
            ),
            figure(
                "P7",
                "memory",
                "kept of a served call",
                "kB",
                [(kept[0] - first_bytes) / served / 1e3],
                30,
                is_upward=False,
            ),
            figure(
                "P7", "memory", "kept of a refused socket", "kB", [(kept[1] - kept[0]) / away / 1e3], 5, is_upward=False
            ),
            figure(
                "P7", "memory", "kept of a broken call", "kB", [(kept[2] - kept[1]) / away / 1e3], 30, is_upward=False
            ),
        ),
        capacities=(capacity,),
        profile={},
        load=load,
        loops_ms=(slow,),
        counted={"calls served": served, "sockets refused": away, "calls broken off": away},
    )


def _is_greeted(caller: CrowdCaller) -> bool:
    return bool(caller.handset.utterances) or caller.is_over.is_set()


async def _repeated(act: Callable[[Crowd], Awaitable[None]], times: int) -> None:
    async with Crowd(ACCOUNT.sid, words(talk.words(), CYCLE_S)) as crowd:
        for _ in range(max(1, times // AT_ONCE)):
            await act(crowd)


async def _joined(crowd: Crowd, place: Place) -> CrowdCaller:
    sid = f"CA{token_hex(16)}"
    return await crowd.join(await _placed(place, sid), sid)


async def _placed(place: Place, sid: str) -> str:
    """The socket that a call is led to, once a worker takes it. Raises `TimeoutError`."""
    async with asyncio.timeout(GREETED_WITHIN_S):
        while (url := await place(sid)) is None:  # noqa: ASYNC110 - the answer is asked for again
            await asyncio.sleep(AGAIN_S)
    return url
