"""Reading and writing bound numbers."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Select, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.carriers.base import CarrierNumber, Messenger
from turncall_control.db.base import owned
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_control.numbers.model import NumberRow
from turncall_control.routing import AgentTarget, Settings
from turncall_proto import ids
from turncall_proto.ids import AgentId, NumberId, ProjectId


async def add(
    session: AsyncSession, project_id: ProjectId, settings: Settings, carrier: Messenger, number: CarrierNumber
) -> NumberRow:
    """A number that is bound here and not yet configured at its carrier."""
    row = NumberRow(
        id=NumberId(ids.mint(ids.NUMBER)),
        project_id=project_id,
        agent_id=_only_agent(settings),
        settings=settings,
        e164=number.e164,
        carrier=carrier.provider,
        account=carrier.account,
        carrier_sid=number.sid,
    )
    session.add(row)
    await session.flush()
    return row


async def get(session: AsyncSession, project_id: ProjectId, number_id: NumberId) -> NumberRow:
    """One number of the project. Raises `NotFound`."""
    return await _found(session, _one(project_id, number_id))


async def lock(session: AsyncSession, project_id: ProjectId, number_id: NumberId) -> NumberRow:
    """One number; until the end of the transaction nobody else changes it. Raises `NotFound`."""
    return await _found(session, _one(project_id, number_id).with_for_update())


async def page(
    session: AsyncSession, project_id: ProjectId, asked: PageAsked, *, agent_id: AgentId | None
) -> Sequence[NumberRow]:
    """A page of the project's numbers, of those that an agent may answer when one is given."""
    statement = select(NumberRow).where(owned(NumberRow.project_id, project_id))
    if agent_id is not None:
        statement = statement.where(_names(agent_id))
    return (await session.scalars(newest_first(statement, NumberRow.id, ids.NUMBER, asked))).all()


async def bound_sids(session: AsyncSession, project_id: ProjectId, carrier: str) -> frozenset[str]:
    """The carrier's ids of the project's numbers."""
    statement = select(NumberRow.carrier_sid).where(
        owned(NumberRow.project_id, project_id), NumberRow.carrier == carrier
    )
    return frozenset((await session.scalars(statement)).all())


def change(row: NumberRow, settings: Settings) -> None:
    """The number does this with its calls from the next one on."""
    row.settings, row.agent_id = settings, _only_agent(settings)


def confirmed(row: NumberRow) -> None:
    """The carrier sends the number's calls here."""
    row.configured_at = datetime.now(UTC)


def _only_agent(settings: Settings) -> AgentId | None:
    return settings.routing.agent_id if isinstance(settings.routing, AgentTarget) else None


def _names(agent_id: AgentId) -> ColumnElement[bool]:
    """Whether a number's settings name the agent: as its only one, as a variant or as the fallback."""
    settings = type_coerce(NumberRow.settings, JSONB)
    return or_(
        settings.contains({"routing": {"agent_id": agent_id}}),
        settings.contains({"routing": {"variants": [{"agent_id": agent_id}]}}),
        settings.contains({"fallback": {"agent_id": agent_id}}),
    )


def _one(project_id: ProjectId, number_id: NumberId) -> Select[NumberRow]:
    return select(NumberRow).where(NumberRow.id == number_id, owned(NumberRow.project_id, project_id))


async def _found(session: AsyncSession, statement: Select[NumberRow]) -> NumberRow:
    row = await session.scalar(statement)
    if row is None:
        raise NotFound
    return row
