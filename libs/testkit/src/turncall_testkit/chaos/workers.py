"""What is done to the processes of either plane: workers killed, frozen, dying one after another, all replaced."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from turncall.process import Process
from turncall_phone.faults import LossFault
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.history import History
from turncall_testkit.chaos.scene import add_control

Act = Callable[[Drill], Awaitable[None]]
DEATH_EVERY_S: Final = 5.0
FOR_EVER_S: Final = 24 * 3600.0
FROZEN_S: Final = 10.0
REPLACED_WITHIN_S: Final = 180.0
DEREGISTERED_S: Final = 1.0
"""Between the balancer's last request to a replica and its SIGTERM."""


def kill(loss: LossFault | None = None) -> Act:
    """All calls are on one worker, which is killed; ``loss`` is how the carrier takes it."""

    async def act(drill: Drill) -> None:
        victim = await _alone_with_all_calls(drill)
        if loss is not None:
            drill.scene.carrier.faults.add(loss)
        drill.strike(f"{victim.name} killed")
        victim.signal(signal.SIGKILL)
        await victim.ended(5.0)
        await asyncio.sleep(5.0)
        drill.scene.carrier.faults.clear()
        await drill.scene.installation.start_again(victim)

    return act


async def kill_the_only(drill: Drill) -> None:
    """The one worker there is, is killed with all calls, and started again on its folder, as a supervisor does."""
    await drill.dial()
    await drill.all_have_spoken()
    await drill.a_moment(0.0, 4.0)
    (worker,) = drill.scene.workers
    drill.strike(f"{worker.name} killed")
    worker.signal(signal.SIGKILL)
    await worker.ended(5.0)
    await drill.scene.installation.start_again(worker)


async def freeze(drill: Drill) -> None:
    """The worker with all calls is stopped, and goes on ten seconds later."""
    victim = await _alone_with_all_calls(drill)
    drill.strike(f"{victim.name} frozen")
    victim.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN_S)
    finally:
        victim.signal(signal.SIGCONT)


async def _alone_with_all_calls(drill: Drill) -> Process:
    """The calls are dialled; a second worker joins once they are, as a supervisor would scale out."""
    await drill.dial()
    if len(drill.scene.workers) == 1:
        await drill.scene.installation.add_worker()
    await drill.all_have_spoken()
    await drill.a_moment(0.0, 4.0)
    return drill.busiest()


async def kill_control(drill: Drill) -> None:
    """A control replica is killed while it stores facts and sends webhooks, and starts again; then the other one.

    The projects' servers refuse one event in ten at first, so that webhooks wait for a retry when their sender dies.
    """
    for tenant in drill.scene.tenants:
        tenant.receiver.stumbles_every = 10
    await drill.dial()
    await drill.all_have_spoken()
    for replica in list(drill.scene.controls):
        await drill.a_moment(1.0, 3.0)
        drill.strike(f"{replica.name} killed")
        replica.signal(signal.SIGKILL)
        await replica.ended(5.0)
        await drill.scene.installation.start_again(replica)
    await drill.all_ended()
    for tenant in drill.scene.tenants:
        tenant.receiver.stumbles_every = 0


async def let_die(drill: Drill) -> None:
    """Every five seconds a random worker is killed and started again, while as many callers as asked for are on the
    line; whoever is done is followed by another one.

    The last worker that takes calls is spared: a machine that starts workers slowly sees fewer deaths, and says so.
    """
    serving = set(drill.scene.workers)
    supervisors = [asyncio.create_task(_supervise(drill, worker, serving)) for worker in drill.scene.workers]
    until_s = asyncio.get_running_loop().time() + drill.lasts_s
    callers = asyncio.create_task(_keep_calling(drill, until_s))
    try:
        while asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(DEATH_EVERY_S)
            if len(serving) > 1:
                victim = drill.random.choice(sorted(serving, key=lambda worker: worker.name))
                drill.strike(f"{victim.name} killed")
                serving.remove(victim)
                victim.signal(signal.SIGKILL)
        await callers
        await drill.all_ended()
    finally:
        for task in (callers, *supervisors):
            task.cancel()
        await asyncio.gather(callers, *supervisors, return_exceptions=True)


def deaths(history: History) -> dict[str, float]:
    """How many workers were killed."""
    return {"workers killed": len(history.strikes)}


async def _supervise(drill: Drill, worker: Process, serving: set[Process]) -> None:
    """Starts a worker again whenever it has ended."""
    while True:
        await worker.ended(FOR_EVER_S)
        await drill.scene.installation.start_again(worker)
        serving.add(worker)


async def _keep_calling(drill: Drill, until_s: float) -> None:
    while asyncio.get_running_loop().time() < until_s:
        if len(drill.live) < drill.count:
            await drill.dial(1)
        else:
            await asyncio.sleep(0.1)


async def roll(drill: Drill) -> None:
    """Every worker and control replica is replaced, one after another, each told to leave once its successor serves.

    The workers' successors start together, so that the calls are still there when they are to be handed over.
    """
    await drill.dial()
    await drill.all_have_spoken()
    async with asyncio.timeout(REPLACED_WITHIN_S):
        async with asyncio.TaskGroup() as both:
            both.create_task(_roll_workers(drill))
            both.create_task(_roll_control(drill))


async def drain(drill: Drill) -> None:
    """One worker is told to leave, and starts again once it has."""
    await drill.dial()
    await drill.all_have_spoken()
    worker = drill.random.choice(drill.scene.workers)
    drill.strike(f"{worker.name} drained")
    worker.signal(signal.SIGTERM)
    await worker.ended(REPLACED_WITHIN_S)
    await drill.scene.installation.start_again(worker)


async def _roll_workers(drill: Drill) -> None:
    leaving = list(drill.scene.workers)
    await asyncio.gather(*(drill.scene.installation.add_worker() for _ in leaving))
    for worker in leaving:
        drill.strike(f"{worker.name} drained")
        worker.signal(signal.SIGTERM)
        await worker.ended(REPLACED_WITHIN_S)


async def _roll_control(drill: Drill) -> None:
    scene = drill.scene
    for replica in list(scene.controls):
        await add_control(scene.installation, scene.edges)
        scene.edges.control.ports.remove(scene.installation.ports[replica])
        await asyncio.sleep(DEREGISTERED_S)
        drill.strike(f"{replica.name} told to stop")
        replica.signal(signal.SIGTERM)
        await replica.ended(REPLACED_WITHIN_S)
