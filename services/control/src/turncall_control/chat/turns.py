"""A turn of a session: what is sent for it, and what its answer becomes."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, cast

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.model import VersionRow
from turncall_control.agents.repository import in_service
from turncall_control.calls import legs, plans
from turncall_control.chat import news, repository
from turncall_control.chat.model import Author, MessageRow, SessionRow, SessionState
from turncall_control.chat.views import message_view
from turncall_control.jobs.lane import Connection, Due, Kind
from turncall_control.numbers.model import NumberRow
from turncall_control.plane import Plane
from turncall_control.projects.model import ProjectRow
from turncall_control.settings import speaking
from turncall_control.webhooks.sessions import SENT
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallStart, TextChannel
from turncall_proto.ids import CallId, ProjectId, SessionId
from turncall_proto.job import JobFailed, TextTurnDone, TextTurnJob, Wrote

TEXT_TURN: Final = "text_turn"
MOST_MESSAGES: Final = 400
"""Of a session that travel as they are; a summary stands for the others long before."""


async def plan(connection: Connection, plane: Plane, due: Due) -> TextTurnJob | None:
    """The session with what is unanswered in it; None when it is over, or in a person's hands."""
    if due.session_id is None:
        return None
    session_id = SessionId(ids.written(ids.SESSION, due.session_id))
    async with plane.database.system() as session:
        row = await session.get(SessionRow, session_id)
        if row is None or row.state != SessionState.ACTIVE or row.is_taken_over:
            return None
        agent = await _agent(session, row)
        project = await session.get_one(ProjectRow, row.project_id)
        if agent is None:
            return None
        number = None if row.number_id is None else await session.get(NumberRow, row.number_id)
        wrote = (await repository.messages(session, row, after=row.summarised_through))[-MOST_MESSAGES:]
    if not wrote:
        return None
    agent = speaking(agent, project.settings.default_language)
    wallet = await plane.wallets.open(row.project_id, connection)
    start = CallStart(
        call_id=CallId(row.id),
        project_id=row.project_id,
        epoch=1,
        agent_id=row.agent_id,
        version_id=row.version_id,
        agent=agent,
        channel=cast(TextChannel, row.channel),
        direction="inbound",
        from_number=row.contact,
        to_number="" if number is None else number.e164,
        provider=row.channel if number is None else number.carrier,
        provider_call_id="",
        called_at=row.created_at,
        variables=row.variables,
        metadata=row.metadata_,
        knowledge_context=row.knowledge_context,
        memory=await legs.on_the_phone(connection, row.project_id, row.agent_id, row.contact),
        **plans.sealed(plane, row.project_id, wallet, agent),
    )
    return TextTurnJob(
        job_id=due.job_id,
        project_id=row.project_id,
        planned_at=datetime.now(UTC),
        session_id=row.id,
        plan=start,
        wrote=tuple(_wrote(message) for message in wrote),
        summary=row.summary,
    )


async def _agent(session: AsyncSession, row: SessionRow) -> AgentSpec | None:
    """Who answers: the session's version, or what the project's server defined for it."""
    if row.version_id is None:
        return row.inline_agent
    version = await session.get(VersionRow, row.version_id)
    return None if version is None else msgspec.convert(version.config, AgentSpec)


def _wrote(row: MessageRow) -> Wrote:
    return Wrote(seq=row.seq, author=row.author.value, text=row.text, at=row.created_at)


async def take(
    connection: Connection, plane: Plane, due: Due, answer: TextTurnDone | JobFailed
) -> Callable[[], Awaitable[None]]:
    """The answer becomes a message, unless a person took over or the session ended meanwhile; then what came since is
    answered. An answer that comes again, after a death in the middle of this, finds its message and changes nothing."""
    assert due.session_id is not None  # a turn is one of a session
    session_id = SessionId(ids.written(ids.SESSION, due.session_id))
    project_id = ProjectId(ids.written(ids.PROJECT, due.project_id))
    async with plane.database.system() as session, session.begin():
        row = await session.get(SessionRow, session_id, with_for_update=True)
        is_open = row is not None and row.state == SessionState.ACTIVE and not row.is_taken_over
        if row is not None and is_open and not await _is_known(session, answer):
            if isinstance(answer, JobFailed):
                await _failed(session, row, answer)
            else:
                await _answered(session, row, answer, plane.accounts.installation)
    return partial(_go_on, plane, project_id, session_id)


async def _is_known(session: AsyncSession, answer: TextTurnDone | JobFailed) -> bool:
    return await session.scalar(select(MessageRow.seq).where(MessageRow.job_id == answer.job_id)) is not None


async def _go_on(plane: Plane, project_id: ProjectId, session_id: SessionId) -> None:
    """Once the job is over, which frees the session for another turn: what came meanwhile is answered."""
    async with plane.database.system() as session, session.begin():
        row = await session.get(SessionRow, session_id)
        if row is not None and await repository.is_unanswered(session, row):
            await repository.order_turn(session, row)
    await news.tell(plane.bus, project_id, session_id)


async def _failed(session: AsyncSession, row: SessionRow, answer: JobFailed) -> None:
    last = await repository.last_written(session, row)
    if last is not None and last.seq > row.answered_through:
        last.failure = answer.detail


async def _answered(session: AsyncSession, row: SessionRow, answer: TextTurnDone, installation: str) -> None:
    if answer.summarised_through:
        row.summary, row.summarised_through = answer.summary, answer.summarised_through
    if answer.text:
        message = await repository.answer(
            session,
            row,
            Author.AGENT,
            answer.text,
            installation=installation,
            job_id=answer.job_id,
            answers=answer.through,
            tools=json.loads(msgspec.json.encode(answer.tools)),
            knowledge=json.loads(msgspec.json.encode(answer.knowledge)),
            used=json.loads(msgspec.json.encode(answer.used)),
        )
        await repository.notify(session, row, SENT, message_view(message))
    row.answered_through = max(row.answered_through, answer.through)
    if answer.handed_to is not None:
        await _hand_over(session, row, answer)
    if answer.is_ended:
        await repository.end(session, row, SessionState.ENDED)


async def _hand_over(session: AsyncSession, row: SessionRow, answer: TextTurnDone) -> None:
    """Another agent of the project goes on, if it is in service; whom a model may name is checked where it runs."""
    assert answer.handed_to is not None
    version = await in_service(session, row.project_id, answer.handed_to)
    if version is not None:
        row.inline_agent = None
        row.agent_id, row.version_id = version.agent_id, version.id
        if not answer.text:
            row.answered_through = 0  # the new agent has the first word


KIND: Final = Kind(name=TEXT_TURN, answer=TextTurnDone, plan=plan, take=take)
