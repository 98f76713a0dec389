"""What earlier workers said about a call, read by the one that goes on with it."""

import asyncio
from typing import Final

from turncall_bus.bus import Bus, BusError
from turncall_media.seams import Past
from turncall_proto.call import CallStart
from turncall_proto.codec import MalformedMessage, UnknownEvent, decode_event
from turncall_proto.events import Event
from turncall_proto.subjects import call
from turncall_runtime import logs

_log = logs.logger(__name__)

READ_WITHIN_S: Final = 1.0
"""The caller hears silence meanwhile."""


async def read(bus: Bus, plan: CallStart) -> Past | None:
    """The facts of the epochs before ``plan``'s; None in the first one. Never raises: without the bus it says so.

    Facts of a newer release that this one does not know are left out.
    """
    if plan.epoch == 1:
        return None
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            stored = await bus.story(call(plan.project_id, plan.call_id, "event"))
    except (BusError, TimeoutError) as error:
        _log.warning("past.unknown", why=str(error) or f"the bus did not tell it within {READ_WITHIN_S} s")
        return Past(facts=(), is_known=False)
    facts = (fact for message in stored if (fact := _fact(message.data)) is not None and fact.epoch < plan.epoch)
    return Past(facts=tuple(facts), is_known=True)


def _fact(data: bytes) -> Event | None:
    try:
        fact = decode_event(data)
    except MalformedMessage:
        return None
    return None if isinstance(fact, UnknownEvent) else fact


def last_seq(past: Past | None, epoch: int) -> int:
    """The last number of ``epoch`` that was read; 0 when there is none."""
    return max((fact.seq for fact in past.facts if fact.epoch == epoch), default=0) if past is not None else 0
