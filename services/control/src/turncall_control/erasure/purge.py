"""Deleted projects: emptied at once of what acts, and after their grace period of everything.

Every step may be repeated, and the next sweep goes on where one ended. A project is swept by whoever holds its row.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import IntegrityError, sql

from turncall_blobs import BlobError, keys
from turncall_bus.bus import BusError
from turncall_control.calls import ending, erasing
from turncall_control.calls.ledger import Connection
from turncall_control.db import failures
from turncall_control.db.base import Row
from turncall_control.errors import CarrierFailed, NotFound, Unavailable
from turncall_control.numbers import service as numbers
from turncall_control.plane import Plane
from turncall_control.shelves import Unreadable
from turncall_proto import ids, subjects
from turncall_proto.ids import CallId, NumberId, ProjectId
from turncall_runtime import logs

AT_ONCE: Final = 20
"""Numbers and calls of one project that one sweep takes up."""
BATCHES: Final = 20
ROWS: Final = 5000
"""Rows that one statement deletes at most."""
PATIENCE: Final = timedelta(days=1)
"""How long after its time a purge waits for a carrier that does not release a number, or a call that does not end."""
OUTLIVING: Final = frozenset({"audit_entries", "erased_calls"})
"""Tables that refer to projects which are gone; nothing personal is left in them."""

log = logs.logger(__name__)


class Deleted(Struct, frozen=True, kw_only=True):
    """A deleted project; ``is_late``: its purge has waited long enough."""

    id: ProjectId
    is_due: bool
    is_late: bool

    @property
    def key(self) -> UUID:
        """The id as Postgres has it."""
        return ids.parsed(ids.PROJECT, self.id)


@cache
def tables() -> tuple[str, ...]:
    """Every table with rows of projects but `OUTLIVING`, whatever slice it belongs to; referring ones come first."""
    found = (table for table in reversed(Row.metadata.sorted_tables) if "project_id" in table.columns)
    return tuple(table.name for table in found if table.name not in OUTLIVING)


async def sweep(plane: Plane) -> None:
    """Takes up every deleted project that there is something to do about and nobody else has taken up."""
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            "select id, purge_at <= now(), purge_at <= now() - %s from projects p where deleted_at is not null"
            " and (purge_at <= now() or exists (select from numbers where project_id = p.id)"
            " or exists (select from calls where project_id = p.id and over_at is null))",
            (PATIENCE,),
        )
        found = [
            Deleted(id=ProjectId(ids.written(ids.PROJECT, project)), is_due=bool(is_due), is_late=bool(is_late))
            for project, is_due, is_late in await cursor.fetchall()
        ]
    for project in found:
        try:
            await _take_up(plane, project)
        except (BlobError, BusError, IntegrityError) as error:
            log.warning("purge.postponed", project_id=project.id, error=f"{type(error).__name__}: {error}")
        except Exception as error:
            if isinstance(error, failures.FAILURES) and failures.is_away(error):
                raise
            # The others have their turn.
            log.error("purge.failed", project_id=project.id, exc_info=error)


async def _take_up(plane: Plane, project: Deleted) -> None:
    async with _held(plane, project) as connection:
        if connection is None:
            return
        await _release_numbers(plane, project)
        await _end_calls(plane, project)
        if not project.is_due:
            return
        if not await _is_quiet(plane, project):
            if not project.is_late:
                return
            log.error("purge.impatient", project_id=project.id, waited_s=PATIENCE.total_seconds())
        await _purge(plane, project, connection)


@asynccontextmanager
async def _held(plane: Plane, project: Deleted) -> AsyncIterator[Connection | None]:
    """A transaction that holds the project's row, without keeping others from referring to it; None if it is taken."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "select id from projects where id = %s and deleted_at is not null for no key update skip locked",
            (project.key,),
        )
        yield connection if await cursor.fetchone() else None


async def _release_numbers(plane: Plane, project: Deleted) -> None:
    for (number,) in await _rows(plane, "select id from numbers where project_id = %s limit %s", project.key, AT_ONCE):
        number_id = NumberId(ids.written(ids.NUMBER, number))
        try:
            await numbers.unbind(plane, project.id, number_id)
        except NotFound:
            await numbers.forget(plane, project.id, number_id)
        except (CarrierFailed, Unavailable) as error:
            log.warning("purge.number_kept", number_id=number_id, error=str(error))


async def _end_calls(plane: Plane, project: Deleted) -> None:
    live = await _rows(
        plane,
        "select id from calls where project_id = %s and over_at is null and not end_intended limit %s",
        project.key,
        AT_ONCE,
    )
    async with asyncio.TaskGroup() as group:
        for (call,) in live:
            group.create_task(_end(plane, CallId(ids.written(ids.CALL, call))))


async def _end(plane: Plane, call_id: CallId) -> None:
    """Has the call's worker end it; a line whose worker does not is closed at the carrier."""
    reply = await ending.asked(plane, call_id)
    if reply is None or reply.outcome != "done":
        await ending.closed(plane, call_id)


async def _is_quiet(plane: Plane, project: Deleted) -> bool:
    """Whether the carrier sends nothing here any more, and nothing more comes of any call."""
    ((is_busy,),) = await _rows(
        plane,
        "select exists (select from numbers where project_id = %s)"
        " or exists (select from calls where project_id = %s and settled_at is null)",
        project.key,
        project.key,
    )
    return not is_busy


async def _purge(plane: Plane, project: Deleted, holding: Connection) -> None:
    """Deletes blobs, messages, keys and rows, the project's own last. The rest waits if there is too much for once."""
    pool = plane.database.pool
    await _empty_bucket(plane, project)
    await plane.vault.shred(project.id)
    for _ in range(BATCHES):
        if not await erasing.erase(pool, plane.blobs, "c.project_id = %(project)s", {"project": project.key}):
            break
    else:
        return
    for prefix in keys.of_project(project.id):
        await plane.blobs.delete_prefix(prefix)
    await plane.bus.purge(subjects.project_story(project.id))
    for table in tables():
        if not await _emptied(plane, table, project):
            return
    await _rows(plane, "update audit_entries set changes = '[]', address = '' where project_id = %s", project.key)
    await holding.execute("delete from projects where id = %s", (project.key,))
    log.info("project.purged", project_id=project.id)


async def _empty_bucket(plane: Plane, project: Deleted) -> None:
    """Erases the recordings in the project's own bucket, while its keys are readable. Raises `BlobError`.

    A bucket that does not let us is its owner's: the purge waits for it as for a carrier, and then leaves it. When a
    purge goes on where one ended, the keys are gone.
    """
    try:
        async with plane.shelves.own(project.id) as own:
            if own is not None:
                await own.delete_prefix(keys.recordings(project.id))
    except BlobError as error:
        if not (project.is_late or isinstance(error, Unreadable)):
            raise
        log.error("purge.bucket_kept", project_id=project.id, error=str(error))


async def _emptied(plane: Plane, table: str, project: Deleted) -> bool:
    """Deletes the project's rows of a table, batch by batch; False when some are left."""
    statement = sql.SQL(
        "delete from {table} where ctid = any(array(select ctid from {table} where project_id = %s limit %s))"
    ).format(table=sql.Identifier(table))
    for _ in range(BATCHES):
        async with plane.database.pool.connection() as connection:
            if (await connection.execute(statement, (project.key, ROWS))).rowcount < ROWS:
                return True
    return False


async def _rows(plane: Plane, query: str, *values: object) -> list[tuple[Any, ...]]:
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(query.encode(), values)
        return await cursor.fetchall() if cursor.description else []
