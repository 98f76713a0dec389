"""Reading calls and their facts, within a project."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Text, cast, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls.facts import StoredFact
from turncall_control.calls.model import CallEventRow, CallRow
from turncall_control.db.base import owned
from turncall_control.errors import Invalid, NotFound
from turncall_control.http.paging import PageAsked, asked_for, within
from turncall_proto import ids
from turncall_proto.call import CallState, Channel, Direction, EndedReason
from turncall_proto.events import PUBLIC_TAGS, CallEvent
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId


class CallsWanted(Struct, frozen=True, kw_only=True):
    """What a list of calls is narrowed to; None for everything. ``created_until`` is not included.

    A call has all of ``metadata``, whatever else it has.
    """

    status: CallState | None
    ended_reason: EndedReason | None
    direction: Direction | None
    channel: Channel | None
    is_test: bool | None
    agent_id: AgentId | None
    version_id: VersionId | None
    variant: str | None
    number_id: NumberId | None
    from_number: str | None
    to_number: str | None
    metadata: dict[str, str]
    created_from: datetime | None
    created_until: datetime | None


async def page(
    session: AsyncSession, project_id: ProjectId, wanted: CallsWanted, asked: PageAsked
) -> Sequence[CallRow]:
    """A page of the project's calls and one more, newest first. Raises `Invalid` for another list's cursor."""
    statement = select(CallRow).where(owned(CallRow.project_id, project_id))
    statement = statement.where(
        *asked_for(
            (CallRow.status, wanted.status),
            (CallRow.ended_reason, wanted.ended_reason),
            (CallRow.direction, wanted.direction),
            (CallRow.channel, wanted.channel),
            (CallRow.agent_id, wanted.agent_id),
            (CallRow.version_id, wanted.version_id),
            (CallRow.variant, wanted.variant),
            (CallRow.number_id, wanted.number_id),
            (CallRow.from_number, wanted.from_number),
            (CallRow.to_number, wanted.to_number),
        ),
        *within(CallRow.created_at, wanted.created_from, wanted.created_until),
    )
    if wanted.is_test is not None:
        statement = statement.where(CallRow.mocks.is_not(None) if wanted.is_test else CallRow.mocks.is_(None))
    if wanted.metadata:
        statement = statement.where(CallRow.metadata_.contains(wanted.metadata))
    if asked.after is not None:
        moment, call_id = _call_key(asked.after)
        last = tuple_(literal(moment, CallRow.created_at.type), literal(call_id, CallRow.id.type))
        statement = statement.where(tuple_(CallRow.created_at, CallRow.id) < last)
    ordered = statement.order_by(CallRow.created_at.desc(), CallRow.id.desc())
    return (await session.scalars(ordered.limit(asked.limit + 1))).all()


def call_key(row: CallRow) -> tuple[str, ...]:
    """Where a call stands in the list; an inbound call's id is not ordered by time."""
    return row.created_at.astimezone(UTC).isoformat(), row.id


def _call_key(after: tuple[str, ...]) -> tuple[datetime, str]:
    try:
        moment, call_id = after
        ids.parsed(ids.CALL, call_id)
        return msgspec.convert(moment, datetime), call_id
    except (ValueError, msgspec.ValidationError) as error:
        raise Invalid.at("cursor", "It was not made by this list") from error


async def get(session: AsyncSession, project_id: ProjectId, call_id: CallId, *, is_locked: bool = False) -> CallRow:
    """One call of the project, for this transaction alone if ``is_locked``. Raises `NotFound`."""
    statement = select(CallRow).where(CallRow.id == call_id, owned(CallRow.project_id, project_id))
    row = await session.scalar(statement.with_for_update() if is_locked else statement)
    if row is None:
        raise NotFound
    return row


async def facts(
    session: AsyncSession,
    project_id: ProjectId,
    call_id: CallId,
    *,
    after: int,
    limit: int,
    has_internal: bool,
) -> list[StoredFact]:
    """The call's facts behind ``after`` in ``call_seq`` order, ``limit`` at most."""
    statement = (
        select(
            CallEventRow.call_seq,
            CallEventRow.type,
            CallEventRow.epoch,
            CallEventRow.seq,
            CallEventRow.at,
            cast(CallEventRow.payload, Text),
        )
        .where(
            CallEventRow.call_id == call_id, owned(CallEventRow.project_id, project_id), CallEventRow.call_seq > after
        )
        .order_by(CallEventRow.call_seq)
        .limit(limit)
    )
    if not has_internal:
        statement = statement.where(CallEventRow.type.in_(PUBLIC_TAGS))
    return [
        StoredFact(call_seq=call_seq, type=tag, epoch=epoch, seq=seq, at=at, data=msgspec.Raw(payload.encode()))
        for call_seq, tag, epoch, seq, at, payload in await session.execute(statement)
    ]


async def facts_of[FactT: CallEvent](
    session: AsyncSession, project_id: ProjectId, call_id: CallId, kind: type[FactT]
) -> list[FactT]:
    """Every fact of one kind, in the order of their numbers."""
    statement = (
        select(CallEventRow.payload)
        .where(
            CallEventRow.call_id == call_id,
            owned(CallEventRow.project_id, project_id),
            CallEventRow.type == str(kind.__struct_config__.tag),
        )
        .order_by(CallEventRow.epoch, CallEventRow.seq)
    )
    payloads: Sequence[dict[str, Any]] = (await session.scalars(statement)).all()
    return [msgspec.convert(payload, kind) for payload in payloads]
