"""Reading the audit log, and forgetting its oldest entries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.db.act import PLATFORM
from turncall_control.db.base import owned
from turncall_control.db.engine import Pool
from turncall_control.http.paging import PageAsked, asked_for, newest_first, within
from turncall_control.trail import Effect, EntryRow
from turncall_proto import ids
from turncall_proto.ids import ProjectId

BATCH: Final = 5000
"""Rows that one statement deletes at most."""


class EntriesWanted(Struct, frozen=True, kw_only=True):
    """The filters of the log; None for all."""

    actor: str | None
    operation: str | None
    object_id: str | None
    effect: Effect | None
    created_from: datetime | None
    created_until: datetime | None


async def page(
    session: AsyncSession, project_id: ProjectId, wanted: EntriesWanted, asked: PageAsked
) -> Sequence[EntryRow]:
    """A page of what happened in a project."""
    # The column may be null, which is nobody's project.
    statement = select(EntryRow).where(owned(EntryRow.project_id, project_id))  # type: ignore[arg-type]
    return (await session.scalars(newest_first(_filtered(statement, wanted), EntryRow.id, ids.AUDIT, asked))).all()


async def platform_page(session: AsyncSession, wanted: EntriesWanted, asked: PageAsked) -> Sequence[EntryRow]:
    """A page of what the operator did, in every project and in none."""
    statement = select(EntryRow).where(EntryRow.actor == PLATFORM)
    return (await session.scalars(newest_first(_filtered(statement, wanted), EntryRow.id, ids.AUDIT, asked))).all()


async def sweep(pool: Pool, keep_days: int) -> None:
    """Deletes entries past their time, and idempotency keys past theirs, batch by batch. A repeat does nothing."""
    for statement, values in (
        (
            "delete from audit_entries where id in (select id from audit_entries "
            "where created_at < now() - make_interval(days => %s) limit %s)",
            (keep_days, BATCH),
        ),
        (
            "delete from idempotency_keys where ctid in (select ctid from idempotency_keys "
            "where expires_at < now() limit %s)",
            (BATCH,),
        ),
    ):
        async with pool.connection() as connection:
            while (await connection.execute(statement, values)).rowcount == BATCH:
                pass


def _filtered(statement: Select[EntryRow], wanted: EntriesWanted) -> Select[EntryRow]:
    statement = statement.where(
        *asked_for(
            (EntryRow.actor, wanted.actor),
            (EntryRow.operation, wanted.operation),
            (EntryRow.object_id, wanted.object_id),
            (EntryRow.effect, wanted.effect),
        ),
        *within(EntryRow.created_at, wanted.created_from, wanted.created_until),
    )
    return statement
