"""Erasing calls that are settled: sound, rows, messages; and what is done about facts that come for one afterwards."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from turncall_blobs import BlobStore, keys
from turncall_bus.bus import Bus
from turncall_control.calls import moving
from turncall_control.calls.model import BucketChoreRow, CallRow, ErasedCallRow
from turncall_control.db import arrays
from turncall_control.db.base import Row
from turncall_control.db.engine import Pool
from turncall_proto import ids, subjects
from turncall_proto.ids import CallId, ProjectId

AT_ONCE: Final = 50
"""Calls that one transaction erases at most."""
REMEMBERED: Final = timedelta(days=30)
"""How long after its erasure facts of a call are still expected: a worker's disk may come back."""

Connection = AsyncConnection[TupleRow]


@cache
def tables() -> tuple[str, ...]:
    """Every table with rows of single calls, whatever slice it belongs to; those that refer to others come first."""
    kept = {CallRow.__tablename__, ErasedCallRow.__tablename__, BucketChoreRow.__tablename__}
    found = (table for table in reversed(Row.metadata.sorted_tables) if "call_id" in table.columns)
    return tuple(table.name for table in found if table.name not in kept)


async def erase(
    pool: Pool, blobs: BlobStore, condition: LiteralString, values: Mapping[str, object], *, waits: bool = False
) -> int:
    """Erases up to `AT_ONCE` calls ``c`` that meet an SQL condition; the answer is how many did.

    With a call go those in which it was replayed. Passes over calls that somebody else has locked, unless it ``waits``
    for them. Blobs go first: what fails in between leaves rows by which it is done again. Raises `BlobError`.
    """
    patience: LiteralString = "" if waits else "skip locked"
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            f"select c.id, c.project_id from calls c where {condition} limit {AT_ONCE} for update {patience}", values
        )
        found: list[tuple[UUID, UUID]] = await cursor.fetchall()
        calls = found + await _replays(connection, [call for call, _ in found])
        for call, project in calls:
            for prefix in _prefixes(project, call):
                await blobs.delete_prefix(prefix)
        erased = [call for call, _ in calls]
        await moving.foresee_erasure(connection, erased)
        await connection.execute(
            "insert into erased_calls (call_id, project_id) select id, project_id from calls where id = any(%s)"
            " on conflict do nothing",
            (erased,),
        )
        for table in tables():
            await connection.execute(
                sql.SQL("delete from {} where call_id = any(%s)").format(sql.Identifier(table)), (erased,)
            )
        await connection.execute("delete from calls where id = any(%s)", (erased,))
    return len(found)


async def erased_among(connection: Connection, call_ids: Iterable[CallId]) -> set[CallId]:
    """Those of the calls that were erased."""
    cursor = await connection.execute(
        "select call_id from erased_calls where call_id = any(%s::uuid[])", (arrays.uuids(call_ids),)
    )
    return {CallId(ids.written(ids.CALL, call)) for (call,) in await cursor.fetchall()}


async def purged(pool: Pool, bus: Bus, strangers: Collection[tuple[ProjectId, CallId]]) -> set[CallId]:
    """Those of calls without a row that were erased; what came of them afterwards is purged. Raises `BusError`."""
    if not strangers:
        return set()
    async with pool.connection() as connection:
        erased = await erased_among(connection, (call_id for _, call_id in strangers))
    for project_id, call_id in strangers:
        if call_id in erased:
            await bus.purge(subjects.call_story(project_id, call_id))
    return erased


async def sweep(pool: Pool, blobs: BlobStore, bus: Bus) -> None:
    """Forgets calls that were erased long ago, once what came of them meanwhile is erased too. Raises `BusError`."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "select call_id, project_id from erased_calls where erased_at < now() - %s limit %s for update skip locked",
            (REMEMBERED, AT_ONCE),
        )
        for call, project in await cursor.fetchall():
            project_id = ProjectId(ids.written(ids.PROJECT, project))
            call_id = CallId(ids.written(ids.CALL, call))
            for prefix in _prefixes(project, call):
                await blobs.delete_prefix(prefix)
            await bus.purge(subjects.call_story(project_id, call_id))
            await connection.execute("delete from erased_calls where call_id = %s", (call,))


async def _replays(connection: Connection, erased: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """The calls in which the callers of these were heard again, and again in those of them."""
    cursor = await connection.execute(
        "with recursive heard as (select r.phone_call_id as id from replays r where r.call_id = any(%s)"
        " union select r.phone_call_id from replays r join heard h on r.call_id = h.id)"
        " select c.id, c.project_id from calls c join heard h on h.id = c.id where c.id <> all(%s) for update of c",
        (erased, erased),
    )
    return await cursor.fetchall()


def _prefixes(project: UUID, call: UUID) -> tuple[str, ...]:
    """Where the blobs of a call are: its sound, and what is on its way to be read."""
    project_id, call_id = ProjectId(ids.written(ids.PROJECT, project)), CallId(ids.written(ids.CALL, call))
    return (keys.recording(project_id, call_id), keys.jobs_of(project_id, call_id))
