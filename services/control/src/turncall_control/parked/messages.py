"""The dead stream: reading it, putting its messages back where they came from, dropping them."""

from typing import Final

import msgspec
from msgspec import Struct

from turncall_bus.bus import Bus, Parked
from turncall_proto.subjects import ALL_DEAD, TC_DEAD
from turncall_runtime import logs

READ_AT_ONCE: Final = 200

log = logs.logger(__name__)


class Found(Struct, frozen=True, kw_only=True):
    """A parked message; ``id`` is its sequence in the dead stream."""

    id: int
    parked: Parked


async def read(bus: Bus, *, after: int, limit: int) -> list[Found]:
    """Up to ``limit`` parked messages behind the one with the id ``after``, oldest first. Raises `BusError`."""
    stored = await bus.story(ALL_DEAD, after=after, limit=limit)
    return [Found(id=one.stream_seq, parked=msgspec.json.decode(one.data, type=Parked)) for one in stored]


async def replay(bus: Bus, message_id: int) -> bool:
    """Publishes a parked message where it came from, then forgets it; False when it is not there. Raises `BusError`.

    One that dies in between is parked still and may be replayed again: every consumer bears repeats. One that fails
    again is parked anew, under another id.
    """
    found = await _one(bus, message_id)
    if found is None:
        return False
    await bus.publish(found.parked.subject, found.parked.data, message_id=f"replay.{TC_DEAD.name}.{message_id}")
    await bus.remove(TC_DEAD.name, message_id)
    log.info("message.replayed", parked=message_id, stream=found.parked.stream, consumer=found.parked.durable)
    return True


async def drop(bus: Bus, message_id: int) -> bool:
    """Forgets a parked message for good; False when it is not there. Raises `BusError`."""
    found = await _one(bus, message_id)
    if found is None:
        return False
    await bus.remove(TC_DEAD.name, message_id)
    log.warning("message.dropped", parked=message_id, stream=found.parked.stream, consumer=found.parked.durable)
    return True


async def _one(bus: Bus, message_id: int) -> Found | None:
    found = await read(bus, after=message_id - 1, limit=1)
    return found[0] if found and found[0].id == message_id else None
