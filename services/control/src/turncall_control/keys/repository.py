"""Reading and writing API keys."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.db.base import owned
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_control.keyring import NewKey
from turncall_control.keys.model import KeyRow
from turncall_control.keys.schemas import KeyNew
from turncall_proto import ids
from turncall_proto.ids import KeyId, ProjectId


async def add(session: AsyncSession, project_id: ProjectId, asked: KeyNew, made: NewKey) -> KeyRow:
    """Stores what may be kept of a new key."""
    row = KeyRow(
        id=KeyId(ids.mint(ids.KEY)),
        project_id=project_id,
        name=asked.name,
        role=asked.role,
        prefix=made.prefix,
        hash=made.hash,
        expires_at=asked.expires_at,
    )
    session.add(row)
    await session.flush()
    return row


async def page(session: AsyncSession, project_id: ProjectId, asked: PageAsked) -> Sequence[KeyRow]:
    """A page of the project's keys, revoked ones included."""
    statement = select(KeyRow).where(owned(KeyRow.project_id, project_id))
    return (await session.scalars(newest_first(statement, KeyRow.id, ids.KEY, asked))).all()


async def get(session: AsyncSession, project_id: ProjectId, key_id: KeyId) -> KeyRow:
    """One key of the project. Raises `NotFound`."""
    row = await session.scalar(select(KeyRow).where(KeyRow.id == key_id, owned(KeyRow.project_id, project_id)))
    if row is None:
        raise NotFound
    return row


def revoke(row: KeyRow) -> None:
    """From this commit on the key opens nothing; revoking again keeps the first moment."""
    row.revoked_at = row.revoked_at or datetime.now(UTC)
