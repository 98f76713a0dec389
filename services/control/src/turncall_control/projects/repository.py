"""Reading and writing projects."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_control.projects.model import ProjectRow
from turncall_proto import ids
from turncall_proto.ids import ProjectId


async def add(session: AsyncSession, name: str) -> ProjectRow:
    """A new project."""
    row = ProjectRow(id=ProjectId(ids.mint(ids.PROJECT)), name=name)
    session.add(row)
    await session.flush()
    return row


async def page(session: AsyncSession, asked: PageAsked) -> Sequence[ProjectRow]:
    """A page of all projects that this session may see."""
    statement = select(ProjectRow).where(ProjectRow.deleted_at.is_(None))
    return (await session.scalars(newest_first(statement, ProjectRow.id, ids.PROJECT, asked))).all()


async def get(session: AsyncSession, project_id: ProjectId, *, is_locked: bool = False) -> ProjectRow:
    """One project, locked for a change if asked. Raises `NotFound`."""
    row = await session.get(ProjectRow, project_id, with_for_update=True if is_locked else None)
    if row is None or row.deleted_at is not None:
        raise NotFound
    return row
