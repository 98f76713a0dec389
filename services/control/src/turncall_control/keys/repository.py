"""Reading and writing API keys."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import Role
from turncall_control.db.base import owned
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_control.keyring import NewKey
from turncall_control.keys.model import KeyRow
from turncall_proto import ids
from turncall_proto.ids import KeyId, ProjectId


async def add(
    session: AsyncSession,
    project_id: ProjectId,
    made: NewKey,
    *,
    name: str,
    role: Role,
    expires_at: datetime | None,
) -> KeyRow:
    """Stores what may be kept of a new key."""
    row = KeyRow(
        id=KeyId(ids.mint(ids.KEY)),
        project_id=project_id,
        name=name,
        role=role,
        prefix=made.prefix,
        hash=made.hash,
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    return row


async def page(
    session: AsyncSession, project_id: ProjectId, asked: PageAsked, *, role: Role | None, is_live: bool | None
) -> Sequence[KeyRow]:
    """A page of the project's keys. ``is_live``: neither revoked nor expired."""
    statement = select(KeyRow).where(owned(KeyRow.project_id, project_id))
    if role is not None:
        statement = statement.where(KeyRow.role == role)
    if is_live is not None:
        live = KeyRow.revoked_at.is_(None) & (KeyRow.expires_at.is_(None) | (KeyRow.expires_at > func.now()))
        statement = statement.where(live if is_live else ~live)
    return (await session.scalars(newest_first(statement, KeyRow.id, ids.KEY, asked))).all()


async def lock(session: AsyncSession, project_id: ProjectId, key_id: KeyId) -> KeyRow:
    """One key of the project; until the end of the transaction nobody else changes it. Raises `NotFound`."""
    statement = select(KeyRow).where(KeyRow.id == key_id, owned(KeyRow.project_id, project_id))
    row = await session.scalar(statement.with_for_update())
    if row is None:
        raise NotFound
    return row


def is_live(row: KeyRow) -> bool:
    """Whether the key still opens anything."""
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > datetime.now(UTC))


def replace(row: KeyRow, successor: KeyId, overlap_s: int) -> None:
    """The key works on beside its successor for ``overlap_s``, or up to its own expiry if that comes first."""
    end = datetime.now(UTC) + timedelta(seconds=overlap_s)
    row.successor_id = successor
    row.expires_at = end if row.expires_at is None else min(end, row.expires_at)


def revoke(row: KeyRow) -> None:
    """From this commit on the key opens nothing; revoking again keeps the first moment."""
    row.revoked_at = row.revoked_at or datetime.now(UTC)
