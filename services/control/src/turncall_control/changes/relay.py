"""What was committed is told: outbox, stream, and then every replica forgets what it took for granted.

News is a kindness: what caches hold expires by itself, keys within five seconds and the rest within thirty.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from turncall_bus.bus import BusError
from turncall_control.db.engine import Pool
from turncall_control.duty import repeated
from turncall_control.outbox import Changed
from turncall_control.plane import Plane, Slice
from turncall_proto import ids, subjects
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.ids import KeyId, ProjectId
from turncall_runtime import logs

RELAY_EVERY_S: Final = 0.25
AT_ONCE: Final = 100
STALE_AFTER: Final = "1 hour"
"""No cache holds anything for as long, so older news is dropped untold."""

log = logs.logger(__name__)


@asynccontextmanager
async def tell_changes(plane: Plane) -> AsyncIterator[None]:
    """Carries the outbox to the stream; replicas share the work."""
    async with repeated("changes", lambda: relay(plane), RELAY_EVERY_S):
        yield


@asynccontextmanager
async def heed_changes(plane: Plane) -> AsyncIterator[None]:
    """Forgets what other replicas, and this one, have changed.

    Every replica hears all news: a plain subscription, whose gaps expiry makes good.
    """

    async def heard(subject: str, data: bytes) -> None:
        try:
            forget(plane, decode(data, Changed))
        except MalformedMessage as error:
            log.warning("change.unreadable", subject=subject, error=str(error))

    subscription = await plane.bus.hear(subjects.ALL_OUT, heard)
    try:
        yield
    finally:
        await subscription.close()


async def relay(plane: Plane) -> None:
    """Publishes what lies in the outbox, oldest first, and deletes it once the stream has it."""
    if plane.bus.is_connected:
        while await _relayed(plane) == AT_ONCE:
            pass
    else:
        await _drop_stale(plane.database.pool)


async def _relayed(plane: Plane) -> int:
    """How many were told. One that the bus refuses is told the next time, by whoever comes first."""
    told: list[int] = []
    async with plane.database.pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "select id, project_id, kind, object_id from outbox order by id limit %s for update skip locked", (AT_ONCE,)
        )
        for number, project, kind, object_id in await cursor.fetchall():
            change = Changed(kind=kind, project_id=ProjectId(ids.written(ids.PROJECT, project)), object_id=object_id)
            try:
                await plane.bus.publish(subjects.out(kind), encode(change), message_id=f"outbox.{number}")
            except BusError as error:
                log.warning("change.untold", kind=kind, error=str(error))
                break
            told.append(number)
        if told:
            await connection.execute("delete from outbox where id = any(%s)", (told,))
    return len(told)


async def _drop_stale(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("delete from outbox where created_at < now() - %s::interval", (STALE_AFTER,))


def forget(plane: Plane, change: Changed) -> None:
    """Drops what this process remembers of the thing that changed."""
    match change.kind:
        case "key":
            plane.keyring.forget(KeyId(change.object_id))
        case "project":
            plane.keyring.forget_project(change.project_id)
            plane.settings.forget(change.project_id)
        case "credentials":
            plane.wallets.forget(change.project_id)
        case "agent" | "number":
            # Routes are what calls are answered from while Postgres is away: looked up anew, never merely forgotten.
            plane.routing.is_stale.set()


CHANGES: Final = Slice(name="changes", tasks=(tell_changes, heed_changes))
