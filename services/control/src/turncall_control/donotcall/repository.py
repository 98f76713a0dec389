"""Reading and writing the list of numbers that are not called."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls.ledger import Connection
from turncall_control.db.base import owned
from turncall_control.donotcall.model import DoNotCallRow, ListedBy
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_proto import ids
from turncall_proto.ids import DoNotCallId, ProjectId


async def add(
    session: AsyncSession, project_id: ProjectId, numbers: Collection[str], listed_by: ListedBy, note: str
) -> int:
    """Puts numbers on the list; how many of them were not on it. A repeat changes nothing."""
    rows = [
        {
            "id": ids.mint(ids.DO_NOT_CALL),
            "project_id": project_id,
            "number": number,
            "listed_by": listed_by,
            "note": note,
        }
        for number in sorted(set(numbers))
    ]
    added = await session.scalars(insert(DoNotCallRow).values(rows).on_conflict_do_nothing().returning(DoNotCallRow.id))
    return len(added.all())


async def page(
    session: AsyncSession, project_id: ProjectId, asked: PageAsked, number: str | None
) -> Sequence[DoNotCallRow]:
    """A page of the project's list, or what it says of one number."""
    statement = select(DoNotCallRow).where(owned(DoNotCallRow.project_id, project_id))
    if number is not None:
        statement = statement.where(DoNotCallRow.number == number)
    return (await session.scalars(newest_first(statement, DoNotCallRow.id, ids.DO_NOT_CALL, asked))).all()


async def get(session: AsyncSession, project_id: ProjectId, entry_id: DoNotCallId) -> DoNotCallRow:
    """One entry of the project. Raises `NotFound`."""
    row = await session.scalar(
        select(DoNotCallRow).where(DoNotCallRow.id == entry_id, owned(DoNotCallRow.project_id, project_id))
    )
    if row is None:
        raise NotFound
    return row


async def holds(connection: Connection, project_id: ProjectId, number: str) -> bool:
    """Whether the project does not call this number."""
    cursor = await connection.execute(
        "select exists (select from do_not_call where project_id = %s and number = %s)",
        (ids.parsed(ids.PROJECT, project_id), number),
    )
    found = await cursor.fetchone()
    return bool(found and found[0])
