"""Calls of tests: dialled like any other, to a caller who is played."""

from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, field
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls.model import CallRow
from turncall_control.carriers import twilio
from turncall_control.db.base import owned
from turncall_control.dials import intents
from turncall_control.dials.model import DialRow, DialState
from turncall_control.numbers.model import NumberRow
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallState
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId
from turncall_proto.mock import ToolMock
from turncall_proto.variables import Variables

AFTER_ALL_OTHERS: Final = 1
"""The priority of tests: they wait while anybody else is to be called."""
RING_S: Final = 15
_NOBODYS: Final = "+999"
"""A country code that no network serves (ITU-T E.164, assigned codes: 999 is kept for a future global service)."""


class Trying(Struct, frozen=True, kw_only=True):
    """A call of a test. ``from_number`` is a number of the project in ``account``, ``to_number`` a test line's."""

    from_number: str
    to_number: str
    account: str
    agent_id: AgentId | None
    version_id: VersionId | None
    agent: AgentSpec
    mocks: tuple[ToolMock, ...]
    variables: Variables = field(default_factory=dict)
    knowledge_context: str = ""


def test_number(uuid_number: int) -> str:
    """A number for the line that a test calls: no subscriber's, and another one for each test."""
    return f"{_NOBODYS}{uuid_number % 10**10:010}"


async def number_of(session: AsyncSession, project_id: ProjectId, account: str, e164: str | None) -> NumberRow | None:
    """The project's number in this account that is named, or its oldest one; None when there is none."""
    statement = select(NumberRow).where(
        owned(NumberRow.project_id, project_id),
        NumberRow.carrier == twilio.PROVIDER,
        or_(NumberRow.account == account, NumberRow.account == ""),
    )
    if e164 is not None:
        statement = statement.where(NumberRow.e164 == e164)
    return await session.scalar(statement.order_by(NumberRow.id).limit(1))


async def dial(session: AsyncSession, project_id: ProjectId, wanted: Trying) -> CallId:
    """Stores that the call is to be dialled, in the transaction of ``session``."""
    call = CallRow(
        id=CallId(ids.mint(ids.CALL)),
        project_id=project_id,
        agent_id=wanted.agent_id,
        version_id=wanted.version_id,
        inline_agent=wanted.agent,
        channel="phone",
        direction="outbound",
        from_number=wanted.from_number,
        to_number=wanted.to_number,
        provider=twilio.PROVIDER,
        account=wanted.account,
        status=CallState.INITIATED,
        variables=wanted.variables,
        knowledge_context=wanted.knowledge_context,
        metadata_={},
        mocks=wanted.mocks,
    )
    intent = DialRow(
        call_id=call.id,
        project_id=project_id,
        account=wanted.account,
        priority=AFTER_ALL_OTHERS,
        state=DialState.QUEUED,
        due_at=datetime.now(UTC),
        ring_timeout_s=RING_S,
        zone=None,
        is_detecting=False,
    )
    await intents.put(session, call, intent)
    return call.id
