"""A project's own bucket: the sound of calls that are over is moved there, and erased there with the call.

What is to be done is a row in ``bucket_chores``, made in the transaction that causes it. While a bucket does not answer
the sound stays in the installation's store, where it is played from, and the row is due again.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, LiteralString
from uuid import UUID

from msgspec import Struct

from turncall_blobs import BlobError, BlobStore, NoSuchBlob, keys
from turncall_control.calls.ledger import Connection
from turncall_control.db.engine import Pool
from turncall_control.shelves import Shelves
from turncall_proto import ids
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime import logs

LOOKS: Final = tuple(timedelta(seconds=after_s) for after_s in (5, 90, 600, 7200, 86_400))
"""When a call's sound is looked for, after the last word on it: parts come late, from disks of workers that died."""
LEASE: Final = timedelta(minutes=10)
"""How long one process works on what it took up, and how long a bucket that failed is left alone."""
AT_ONCE: Final = 20

_OF_OWN_BUCKET: Final[LiteralString] = (
    "select c.id, c.project_id from calls c where c.id = any(%(calls)s)"
    " and exists (select from credentials own where own.project_id = c.project_id and own.kind = 's3')"
)
_FINISH: Final[LiteralString] = (
    # A call that was erased meanwhile has its row turned into another chore.
    "delete from bucket_chores where call_id = %(call)s and erases = %(erases)s"
)

log = logs.logger(__name__)


class Chore(Struct, frozen=True, kw_only=True):
    """One call whose sound is to be moved into its project's bucket, or erased there."""

    call: UUID
    erases: bool
    looks: int


async def foresee_move(connection: Connection, call_id: CallId) -> None:
    """Has the sound of a call that is over moved, if its project has a bucket."""
    await connection.execute(
        f"insert into bucket_chores (call_id, project_id, due_at) select o.id, o.project_id, now() + %(first)s"
        f" from ({_OF_OWN_BUCKET}) o on conflict do nothing",
        {"calls": [ids.parsed(ids.CALL, call_id)], "first": LOOKS[0]},
    )


async def foresee_erasure(connection: Connection, calls: Sequence[UUID]) -> None:
    """Has what lies of these calls in their projects' buckets erased, once whoever moves it now is done."""
    await connection.execute(
        f"insert into bucket_chores (call_id, project_id, erases) select o.id, o.project_id, true"
        f" from ({_OF_OWN_BUCKET}) o on conflict (call_id) do update set erases = true, due_at = now() + %(lease)s",
        {"calls": list(calls), "lease": LEASE},
    )


async def sweep(pool: Pool, blobs: BlobStore, shelves: Shelves) -> None:
    """Does what is due. Replicas may sweep at once: each takes its own. A repeat moves and erases nothing more."""
    async with pool.connection() as connection:
        due = await _take_due(connection)
    async with asyncio.TaskGroup() as group:
        for project, chores in due.items():
            group.create_task(_attend(pool, blobs, shelves, project, chores))


async def _take_due(connection: Connection) -> dict[UUID, list[Chore]]:
    cursor = await connection.execute(
        "update bucket_chores set due_at = now() + %s where call_id in ("
        " select call_id from bucket_chores where due_at <= now() order by due_at limit %s for update skip locked)"
        " returning project_id, call_id, erases, looks",
        (LEASE, AT_ONCE),
    )
    due: dict[UUID, list[Chore]] = {}
    for project, call, erases, looks in await cursor.fetchall():
        due.setdefault(project, []).append(Chore(call=call, erases=erases, looks=looks))
    return due


async def _attend(pool: Pool, blobs: BlobStore, shelves: Shelves, project: UUID, chores: Sequence[Chore]) -> None:
    """What is due in one project's bucket. Without a bucket there is nothing to do; one that fails is asked later."""
    project_id = ProjectId(ids.written(ids.PROJECT, project))
    try:
        async with shelves.own(project_id) as own:
            for chore in chores:
                prefix = keys.recording(project_id, CallId(ids.written(ids.CALL, chore.call)))
                if own is not None and chore.erases:
                    await own.delete_prefix(prefix)
                elif own is not None:
                    await _move(blobs, own, prefix)
                await _note(pool, chore, is_over=own is None or chore.erases or chore.looks + 1 >= len(LOOKS))
    except BlobError as error:
        log.warning("bucket.waits", project_id=project_id, error=str(error))


async def _move(blobs: BlobStore, own: BlobStore, prefix: str) -> None:
    """Moves every part, one at a time: it is in either store at any moment."""
    async for key in blobs.keys(prefix):
        try:
            content_type, sound = (await blobs.stat(key)).content_type, await blobs.read(key)
        except NoSuchBlob:
            continue  # erased meanwhile
        await own.put(key, sound, content_type)
        await blobs.delete(key)


async def _note(pool: Pool, chore: Chore, *, is_over: bool) -> None:
    values = {"call": chore.call, "erases": chore.erases}
    async with pool.connection() as connection:
        if is_over:
            await connection.execute(_FINISH, values)
            return
        await connection.execute(
            "update bucket_chores set looks = looks + 1, due_at = now() + %(next)s"
            " where call_id = %(call)s and erases = %(erases)s",
            values | {"next": LOOKS[chore.looks + 1] - LOOKS[chore.looks]},
        )
