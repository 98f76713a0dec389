"""Reading and writing bound numbers."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.carriers.base import CarrierNumber
from turncall_control.db.base import owned
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_control.numbers.model import NumberRow
from turncall_proto import ids
from turncall_proto.ids import AgentId, NumberId, ProjectId


async def add(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId, carrier: str, number: CarrierNumber
) -> NumberRow:
    """A number that is bound here and not yet configured at its carrier."""
    row = NumberRow(
        id=NumberId(ids.mint(ids.NUMBER)),
        project_id=project_id,
        agent_id=agent_id,
        e164=number.e164,
        carrier=carrier,
        carrier_sid=number.sid,
    )
    session.add(row)
    await session.flush()
    return row


async def get(session: AsyncSession, project_id: ProjectId, number_id: NumberId) -> NumberRow:
    """One number of the project. Raises `NotFound`."""
    statement = select(NumberRow).where(NumberRow.id == number_id, owned(NumberRow.project_id, project_id))
    row = await session.scalar(statement)
    if row is None:
        raise NotFound
    return row


async def page(
    session: AsyncSession, project_id: ProjectId, asked: PageAsked, *, agent_id: AgentId | None
) -> Sequence[NumberRow]:
    """A page of the project's numbers."""
    statement = select(NumberRow).where(owned(NumberRow.project_id, project_id))
    if agent_id is not None:
        statement = statement.where(NumberRow.agent_id == agent_id)
    return (await session.scalars(newest_first(statement, NumberRow.id, ids.NUMBER, asked))).all()


async def bound_sids(session: AsyncSession, project_id: ProjectId, carrier: str) -> frozenset[str]:
    """The carrier's ids of the project's numbers."""
    statement = select(NumberRow.carrier_sid).where(
        owned(NumberRow.project_id, project_id), NumberRow.carrier == carrier
    )
    return frozenset((await session.scalars(statement)).all())


def confirmed(row: NumberRow) -> None:
    """The carrier sends the number's calls here."""
    row.configured_at = datetime.now(UTC)
