"""Reading and writing sessions and messages; turns are ordered here, one at a time for a session."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls import legs
from turncall_control.carriers.base import Template
from turncall_control.chat.model import Author, MessageRow, SessionRow, SessionState
from turncall_control.db.base import owned
from turncall_control.db.engine import bare
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, asked_for, newest_first, within
from turncall_control.jobs import orders
from turncall_control.texts import queue
from turncall_control.webhooks.telling import tell
from turncall_proto import ids
from turncall_proto.call import TextChannel
from turncall_proto.ids import AgentId, MessageId, NumberId, ProjectId, SessionId, VersionId

LASTS: Final = timedelta(hours=24)
"""How long a session lives without a message."""


async def get(
    session: AsyncSession, project_id: ProjectId, session_id: SessionId, *, is_locked: bool = False
) -> SessionRow:
    """One session of the project, for this transaction alone if ``is_locked``. Raises `NotFound`."""
    statement = select(SessionRow).where(SessionRow.id == session_id, owned(SessionRow.project_id, project_id))
    row = await session.scalar(statement.with_for_update() if is_locked else statement)
    if row is None:
        raise NotFound
    return row


async def active(session: AsyncSession, project_id: ProjectId, agent_id: AgentId, contact: str) -> SessionRow | None:
    """The living session of an agent and a contact, for this transaction alone: the one of which was last heard."""
    found: SessionRow | None = await session.scalar(
        select(SessionRow)
        .where(
            owned(SessionRow.project_id, project_id),
            SessionRow.contact == contact,
            SessionRow.agent_id == agent_id,
            SessionRow.state == SessionState.ACTIVE,
            SessionRow.expires_at > func.now(),
        )
        .order_by(SessionRow.expires_at.desc())
        .limit(1)
        .with_for_update()
    )
    return found


async def begin(session: AsyncSession, row: SessionRow) -> None:
    """Stores a new session; what its contact and its agent said on the phone lately comes first in it."""
    row.state, row.is_taken_over, row.summary = SessionState.ACTIVE, False, ""
    row.message_count = row.summarised_through = row.answered_through = 0
    session.add(row)
    await session.flush()
    await legs.begin(await bare(session), row.id)
    await session.refresh(row)


class SessionsWanted(Struct, frozen=True, kw_only=True):
    """What a list of sessions is narrowed to; None for everything. ``created_until`` is not included."""

    state: SessionState | None
    channel: TextChannel | None
    agent_id: AgentId | None
    version_id: VersionId | None
    variant: str | None
    number_id: NumberId | None
    contact: str | None
    metadata: dict[str, str]
    created_from: datetime | None
    created_until: datetime | None


async def page(
    session: AsyncSession,
    project_id: ProjectId,
    wanted: SessionsWanted,
    asked: PageAsked,
) -> Sequence[SessionRow]:
    """A page of the project's sessions, newest first."""
    statement = select(SessionRow).where(owned(SessionRow.project_id, project_id))
    statement = statement.where(
        *asked_for(
            (SessionRow.state, wanted.state),
            (SessionRow.channel, wanted.channel),
            (SessionRow.agent_id, wanted.agent_id),
            (SessionRow.version_id, wanted.version_id),
            (SessionRow.variant, wanted.variant),
            (SessionRow.number_id, wanted.number_id),
            (SessionRow.contact, wanted.contact),
        ),
        *within(SessionRow.created_at, wanted.created_from, wanted.created_until),
    )
    if wanted.metadata:
        statement = statement.where(SessionRow.metadata_.contains(wanted.metadata))
    return (await session.scalars(newest_first(statement, SessionRow.id, ids.SESSION, asked))).all()


async def messages(
    session: AsyncSession, row: SessionRow, *, after: int = 0, limit: int | None = None
) -> Sequence[MessageRow]:
    """The messages of a session behind ``after``, oldest first."""
    statement = (
        select(MessageRow)
        .where(MessageRow.session_id == row.id, MessageRow.seq > after, MessageRow.project_id == row.project_id)
        .order_by(MessageRow.seq)
    )
    return (await session.scalars(statement if limit is None else statement.limit(limit))).all()


async def write(session: AsyncSession, row: SessionRow, author: Author, words: str, **more: Any) -> MessageRow:
    """Adds a message to a locked session, which lives on from here; it went the session's way unless ``more`` says."""
    row.message_count += 1
    row.expires_at = datetime.now(UTC) + LASTS
    message = MessageRow(
        id=MessageId(ids.mint(ids.MESSAGE)),
        session_id=row.id,
        project_id=row.project_id,
        seq=row.message_count,
        author=author,
        text=words,
        **{"channel": row.channel, "number_id": row.number_id, **more},
    )
    session.add(message)
    await session.flush()
    await session.refresh(message)
    return message


async def answer(
    session: AsyncSession,
    row: SessionRow,
    author: Author,
    words: str,
    *,
    installation: str,
    template: Template | None = None,
    **more: Any,
) -> MessageRow:
    """Adds what the agent, or a person in its place, says: it goes to the contact's phone if that is where they write.

    ``installation`` is the carrier account of numbers that name none. A ``template`` goes in place of the words.
    """
    message = await write(session, row, author, words, **more)
    if message.number_id is not None:
        await queue.post(
            await bare(session),
            row.project_id,
            row.id,
            message.seq,
            message.number_id,
            row.contact,
            words,
            installation=installation,
            template=template,
        )
        await session.refresh(message)
    return message


async def order_turn(session: AsyncSession, row: SessionRow) -> None:
    """Has the agent answer what is unanswered, unless it is about to; a session has one turn at a time."""
    await session.execute(
        text(
            "insert into jobs (id, project_id, kind, session_id) values (:job, :project, 'text_turn', :session)"
            " on conflict (kind, session_id) where state in ('due', 'sent') do nothing"
        ),
        {
            "job": ids.parsed(ids.JOB, ids.mint(ids.JOB)),
            "project": ids.parsed(ids.PROJECT, row.project_id),
            "session": ids.parsed(ids.SESSION, row.id),
        },
    )


async def is_unanswered(session: AsyncSession, row: SessionRow) -> bool:
    """Whether the agent is to write: the contact has written what it did not know of, and nobody failed over that."""
    if row.state != SessionState.ACTIVE or row.is_taken_over:
        return False
    last = await last_written(session, row)
    return last is not None and last.seq > row.answered_through and not last.failure


async def last_written(session: AsyncSession, row: SessionRow) -> MessageRow | None:
    """The last message that the contact wrote; what was said on the phone was answered there."""
    found: MessageRow | None = await session.scalar(
        select(MessageRow)
        .where(MessageRow.session_id == row.id, MessageRow.author == Author.CONTACT, MessageRow.call_id.is_(None))
        .order_by(MessageRow.seq.desc())
        .limit(1)
    )
    return found


async def forgotten(session: AsyncSession, at_once: int) -> Sequence[SessionRow]:
    """Sessions that wait for the agent without a turn under way: somebody died between an answer and the next turn."""
    found = await session.scalars(
        select(SessionRow)
        .where(SessionRow.state == SessionState.ACTIVE, ~SessionRow.is_taken_over)
        .where(
            text(
                "exists (select from messages m where m.session_id = sessions.id and m.author = 'contact'"
                " and m.call_id is null and m.seq > sessions.answered_through and m.failure = ''"
                " and m.created_at < now() - interval '10 s')"
                " and not exists (select from jobs j where j.session_id = sessions.id and j.state in ('due', 'sent'))"
            )
        )
        .limit(at_once)
    )
    return found.all()


async def expire(session: AsyncSession, at_once: int) -> Sequence[SessionRow]:
    """Ends sessions whose time has come; those that somebody else holds are left to the next look."""
    rows = (
        await session.scalars(
            select(SessionRow)
            .where(SessionRow.state == SessionState.ACTIVE, SessionRow.expires_at <= func.now())
            .limit(at_once)
            .with_for_update(skip_locked=True)
        )
    ).all()
    for row in rows:
        await end(session, row, SessionState.EXPIRED)
    return rows


async def end(session: AsyncSession, row: SessionRow, state: SessionState) -> None:
    """Ends a locked session, which is read by its agent's analysis then, if it has one."""
    row.state, row.ended_at = state, datetime.now(UTC)
    await session.flush()
    await orders.session_analysis(await bare(session), row.id)


async def notify(session: AsyncSession, row: SessionRow, kind: str, data: msgspec.Struct) -> None:
    """Queues an event for the subscriptions that want it, in the transaction in which it happens."""
    await tell(session, row.project_id, row.agent_id, kind, data)
