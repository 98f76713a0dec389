"""Which plan a socket brings to life, and whose epoch it is."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from turncall_bus.bus import Bus, BusError, NotLast
from turncall_media.errors import PlanMissing
from turncall_proto.call import CallStart, Claim
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.ids import CallId, ProjectId, WorkerId
from turncall_proto.subjects import call

_ANY_PROJECT: Final = ProjectId("*")
_LOOK_AGAIN_S: Final = 0.1


async def find_plan(bus: Bus, call_id: CallId, epoch: int, *, within_s: float) -> CallStart:
    """The plan of an epoch that was offered to another worker, or to none.

    A socket knows its call and epoch but not its project, hence the wildcard. Control publishes a plan while the
    carrier connects, so the first look may come too early. Raises `PlanMissing` when none turns up in time, or one that
    this release cannot read.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            stored = await bus.story(call(_ANY_PROJECT, call_id, "start"))
        except BusError:
            stored = []
        try:
            plans = [decode(message.data, CallStart) for message in stored]
        except MalformedMessage as error:
            raise PlanMissing(f"the plan of {call_id} does not fit this release: {error}") from error
        for plan in reversed(plans):
            if plan.epoch == epoch:
                return plan
        if asyncio.get_running_loop().time() + _LOOK_AGAIN_S >= deadline:
            raise PlanMissing(f"no plan for epoch {epoch} of {call_id} within {within_s} s; is the bus away?")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def claim(bus: Bus, plan: CallStart, worker: WorkerId, now: Callable[[], datetime]) -> bool:
    """Whether the epoch is ours. Raises `BusError` while the bus cannot tell; ask again then.

    The claim expects that nothing followed the last one it saw on the subject, so of two workers one fails. An earlier
    epoch's claim is no obstacle; one of the same or a later epoch is, unless it is our own from an attempt whose
    answer was lost.
    """
    subject = call(plan.project_id, plan.call_id, "claim")
    ours = Claim(call_id=plan.call_id, epoch=plan.epoch, worker=worker, at=now())
    while True:
        earlier = await bus.story(subject)
        if earlier:
            newest = decode(earlier[-1].data, Claim)
            if newest.epoch >= plan.epoch:
                return newest.epoch == plan.epoch and newest.worker == worker
        try:
            await bus.publish(
                subject,
                encode(ours),
                message_id=f"{plan.call_id}.{plan.epoch}.claim.{worker}",
                expect_last=earlier[-1].stream_seq if earlier else 0,
            )
        except NotLast:
            await asyncio.sleep(_LOOK_AGAIN_S)
            continue
        return True
