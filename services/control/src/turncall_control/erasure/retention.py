"""Recordings, calls and conversations that their projects keep no longer. Replicas may sweep at once: each takes its
own."""

from typing import Final
from uuid import UUID

import msgspec

from turncall_blobs import BlobStore, keys
from turncall_control.calls import erasing, moving
from turncall_control.chat import erasing as chat
from turncall_control.db.engine import Pool
from turncall_control.settings import Retention
from turncall_proto import ids
from turncall_proto.events import RecordingReady
from turncall_proto.ids import CallId, ProjectId

BATCHES: Final = 20
"""Batches of one project in one sweep: the others have their turn."""


async def sweep(pool: Pool, blobs: BlobStore) -> None:
    """Erases what is older than its project keeps it, batch by batch. A repeat finds nothing. Raises `BlobError`."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select id, settings->'retention' from projects where deleted_at is null"
            " and jsonb_path_exists(settings, '$.retention.* ? (@ != null)')"
        )
        projects = await cursor.fetchall()
    for project, kept in projects:
        retention = msgspec.convert(kept, Retention)
        if retention.calls_days is not None:
            await _calls(pool, blobs, project, retention.calls_days)
        if retention.recordings_days is not None:
            await _recordings(pool, blobs, project, retention.recordings_days)
        if retention.sessions_days is not None:
            await _sessions(pool, project, retention.sessions_days)


async def _calls(pool: Pool, blobs: BlobStore, project: UUID, days: int) -> None:
    for _ in range(BATCHES):
        erased = await erasing.erase(
            pool,
            blobs,
            "c.project_id = %(project)s and c.settled_at is not null"
            " and c.created_at < now() - make_interval(days => %(days)s)",
            {"project": project, "days": days},
        )
        if erased < erasing.AT_ONCE:
            return


async def _sessions(pool: Pool, project: UUID, days: int) -> None:
    for _ in range(BATCHES):
        if await chat.erase_older(pool, project, days) < chat.AT_ONCE:
            return


async def _recordings(pool: Pool, blobs: BlobStore, project: UUID, days: int) -> None:
    for _ in range(BATCHES):
        if await _batch(pool, blobs, project, days) < erasing.AT_ONCE:
            return


async def _batch(pool: Pool, blobs: BlobStore, project: UUID, days: int) -> int:
    """Deletes the recordings of some calls; the answer is how many calls were looked at.

    Every call is looked up in the store: parts of a worker that died are told of by no fact.
    """
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "select id, exists (select from call_events e where e.call_id = c.id and e.type = %s) from calls c"
            " where project_id = %s and settled_at is not null and recording_swept_at is null"
            " and created_at < now() - make_interval(days => %s) order by created_at limit %s for update skip locked",
            (str(RecordingReady.__struct_config__.tag), project, days, erasing.AT_ONCE),
        )
        calls = await cursor.fetchall()
        project_id = ProjectId(ids.written(ids.PROJECT, project))
        recorded = []
        for call, is_recorded in calls:
            prefix = keys.recording(project_id, CallId(ids.written(ids.CALL, call)))
            if await blobs.delete_prefix(prefix) or is_recorded:
                recorded.append(call)
        await moving.foresee_erasure(connection, [call for call, _ in calls])
        await connection.execute(
            "update calls set recording_swept_at = now(),"
            " recording_deleted_at = case when id = any(%s) then now() end where id = any(%s)",
            (recorded, [call for call, _ in calls]),
        )
    return len(calls)
