"""/v1/sessions: talking with an agent in writing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.repository import in_service
from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.calls import links
from turncall_control.calls.links import LinkRefused
from turncall_control.chat import erasing, news, repository
from turncall_control.chat.following import Following
from turncall_control.chat.model import Author, SessionRow, SessionState
from turncall_control.chat.repository import SessionsWanted
from turncall_control.chat.schemas import Exchange, MessageNew, MessageView, SessionLink, SessionNew, SessionView
from turncall_control.chat.turns import KIND
from turncall_control.chat.views import message_view, session_view
from turncall_control.db.engine import in_project
from turncall_control.duty import repeated
from turncall_control.errors import Conflict, Invalid
from turncall_control.http.filters import marks
from turncall_control.http.paging import Page, PageAsked, number_after, paged
from turncall_control.jobs.lane import Lane
from turncall_control.plane import Plane, Slice
from turncall_control.webhooks.sessions import CREATED, EXPIRED, RECEIVED, SENT
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade
from turncall_proto.call import TextChannel
from turncall_proto.ids import AgentId, NumberId, SessionId, VersionId
from turncall_proto.template import filled

EXPIRE_EVERY_S: Final = 10.0
EXPIRED_AT_ONCE: Final = 100
CHANNEL: Final = "chat"
_SESSION: Final = in_path("session_id", ids.SESSION)


class SessionOver(Conflict):
    """The session has ended or expired: whoever wants to go on begins another one."""

    name, title = "session-over", "The session is over"


class NobodyWrites(Conflict):
    """An agent of a speech pipeline has no model that writes."""

    name, title = "agent-cannot-write", "The agent has no model that writes"


@post(
    "/v1/sessions",
    status_code=201,
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_WRITE, IN_PROJECT, fails=[NobodyWrites], idempotent=True),
)
async def create_session(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], data: JSONBody[SessionNew]
) -> SessionView:
    """Begins a conversation in writing. The agent's first message is its first, if it has one, unless contact and agent
    have spoken on the phone within the day before: that comes first then, and the conversation goes on."""
    version = await in_service(session, caller.project_id, data.agent_id)
    if version is None:
        raise Invalid.at("agent_id", "There is no such agent in this project, or it is not published")
    agent = msgspec.convert(version.config, AgentSpec)
    if not isinstance(agent.pipeline, Cascade):
        raise NobodyWrites
    if data.resume:
        found = await repository.active(session, caller.project_id, version.agent_id, data.contact)
        if found is not None:
            return session_view(found)
    row = SessionRow(
        id=SessionId(ids.mint(ids.SESSION)),
        project_id=caller.project_id,
        agent_id=version.agent_id,
        version_id=version.id,
        channel=CHANNEL,
        contact=data.contact,
        variables=data.variables,
        metadata_=data.metadata,
        expires_at=datetime.now(UTC) + repository.LASTS,
    )
    await repository.begin(session, row)
    await repository.notify(session, row, CREATED, session_view(row))
    greeting = filled(agent.first_message, agent.variables | data.variables).strip()
    if greeting and not row.message_count:
        message = await repository.write(session, row, Author.AGENT, greeting)
        await repository.notify(session, row, SENT, message_view(message))
    return session_view(row)


@post(
    "/v1/sessions/open",
    status_code=200,
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_READ, IN_PROJECT, audited=False),
)
async def open_session(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[SessionLink],
) -> SessionView:
    """The session behind a link that an agent has sent: your page's server asks, and lets the visitor go on in it."""
    now_s = datetime.now(UTC).timestamp()
    try:
        project, opens = links.opened(plane.config.key_peppers, links.SESSION, data.session, now_s)
        if project != ids.parsed(ids.PROJECT, caller.project_id):
            raise LinkRefused
    except LinkRefused as error:
        raise Invalid.at("session", "It does not open: it is not ours, was changed, or has expired") from error
    return session_view(await repository.get(session, caller.project_id, SessionId(ids.written(ids.SESSION, opens))))


def sessions_wanted(
    standing: Annotated[SessionState | None, QueryParameter(name="state", description="Where it stands.")] = None,
    channel: Annotated[
        TextChannel | None, QueryParameter(description="The one that the contact wrote on last.")
    ] = None,
    agent_id: Annotated[
        AgentId | None, QueryParameter(description="Who answers.", pattern=r"^agt_[0-9a-f]{32}$(?!\n)")
    ] = None,
    version_id: Annotated[
        VersionId | None, QueryParameter(description="The version that answers.", pattern=r"^ver_[0-9a-f]{32}$(?!\n)")
    ] = None,
    variant: Annotated[
        str | None, QueryParameter(description="The variant of a number that the contact fell to.")
    ] = None,
    number_id: Annotated[
        NumberId | None,
        QueryParameter(description="Our number that was written to last.", pattern=r"^num_[0-9a-f]{32}$(?!\n)"),
    ] = None,
    contact: Annotated[str | None, QueryParameter(max_length=200, description="Who writes, exactly.")] = None,
    metadata: Annotated[
        list[str] | None, QueryParameter(description="`key:value`; given several times, sessions that have them all.")
    ] = None,
    created_from: Annotated[datetime | None, QueryParameter(description="Begun at this moment or later.")] = None,
    created_until: Annotated[datetime | None, QueryParameter(description="Begun before this moment.")] = None,
) -> SessionsWanted:
    """The filters of the list. Raises `Invalid` for metadata of the wrong form."""
    return SessionsWanted(
        state=standing,
        channel=channel,
        agent_id=agent_id,
        version_id=version_id,
        variant=variant,
        number_id=number_id,
        contact=contact,
        metadata=marks(metadata or []),
        created_from=created_from,
        created_until=created_until,
    )


@get(
    "/v1/sessions",
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_READ, IN_PROJECT),
    dependencies={"wanted": Provide(sessions_wanted, sync_to_thread=False)},
)
async def list_sessions(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    wanted: NamedDependency[SessionsWanted],
) -> Page[SessionView]:
    """Conversations in writing, newest first."""
    rows = await repository.page(session, caller.project_id, wanted, page)
    return paged(rows, page, session_view, lambda row: (row.id,))


@get("/v1/sessions/{session_id:str}", tags=["sessions"], opt=needs(Permission.SESSIONS_READ, _SESSION))
async def get_session(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], session_id: FromPath[str]
) -> SessionView:
    """One conversation."""
    return session_view(await repository.get(session, caller.project_id, SessionId(session_id)))


@get("/v1/sessions/{session_id:str}/messages", tags=["sessions"], opt=needs(Permission.SESSIONS_READ, _SESSION))
async def list_messages(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    session_id: FromPath[str],
    page: NamedDependency[PageAsked],
) -> Page[MessageView]:
    """What was written, oldest first."""
    row = await repository.get(session, caller.project_id, SessionId(session_id))
    rows = await repository.messages(session, row, after=number_after(page), limit=page.limit + 1)
    return paged(rows, page, message_view, lambda message: (str(message.seq),))


@post(
    "/v1/sessions/{session_id:str}/messages",
    status_code=200,
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_WRITE, _SESSION, fails=[SessionOver], idempotent=True),
)
async def write_message(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    session_id: FromPath[str],
    data: JSONBody[MessageNew],
) -> Exchange:
    """Writes a message and waits for the agent's answer, a minute at most; one that comes later is in the messages.

    Messages that are written before the agent answers are answered together. What an operator writes takes the session
    over: the agent is silent until it is released; it goes to the contact's phone if that is where they wrote last.
    """
    identity = SessionId(session_id)
    async with Following(plane, caller.project_id, identity) as following:
        written = await _written(plane, caller, identity, data)
        reply, row = await following.outcome(written.seq)
    async with in_project(plane.database, caller.project_id) as session:
        message = (await repository.messages(session, row, after=written.seq - 1, limit=1))[0]
    answer = None if reply is None else message_view(reply)
    return Exchange(message=message_view(message), reply=answer, session=session_view(row))


@post(
    "/v1/sessions/{session_id:str}/messages/stream",
    status_code=200,
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_WRITE, _SESSION, fails=[SessionOver]),
    media_type="text/event-stream",
)
async def write_message_streamed(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    session_id: FromPath[str],
    data: JSONBody[MessageNew],
) -> Stream:
    """Writes a message; the answer comes as server-sent events: `message.delta` while it is written, then `message` as
    it was stored, or `no_answer`."""
    identity = SessionId(session_id)
    following = Following(plane, caller.project_id, identity)
    await following.__aenter__()
    try:
        written = await _written(plane, caller, identity, data)
    except BaseException:
        await following.__aexit__()
        raise

    async def events() -> AsyncIterator[bytes]:
        try:
            async for event in following.events(written.seq):
                yield event
        finally:
            await following.__aexit__()

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Stream(events(), media_type="text/event-stream", headers=headers)


@post(
    "/v1/sessions/{session_id:str}/take-over",
    status_code=200,
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_WRITE, _SESSION, fails=[SessionOver]),
)
async def take_session_over(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], session_id: FromPath[str]
) -> SessionView:
    """The agent falls silent, and a person answers in its place; an answer that is under way is not sent."""
    row = await _living(session, caller, SessionId(session_id))
    row.is_taken_over = True
    return session_view(row)


@post(
    "/v1/sessions/{session_id:str}/release",
    status_code=200,
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_WRITE, _SESSION, fails=[SessionOver]),
)
async def release_session(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], session_id: FromPath[str]
) -> SessionView:
    """The agent answers again, at once if the last word is the contact's."""
    row = await _living(session, caller, SessionId(session_id))
    row.is_taken_over = False
    if await repository.is_unanswered(session, row):
        await repository.order_turn(session, row)
    return session_view(row)


@post(
    "/v1/sessions/{session_id:str}/end",
    status_code=200,
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_WRITE, _SESSION),
)
async def end_session(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], session_id: FromPath[str]
) -> SessionView:
    """Ends a conversation; one that is over already stays as it is."""
    row = await repository.get(session, caller.project_id, SessionId(session_id), is_locked=True)
    if row.state == SessionState.ACTIVE:
        await repository.end(session, row, SessionState.ENDED)
    return session_view(row)


@delete(
    "/v1/sessions/{session_id:str}",
    tags=["sessions"],
    opt=needs(Permission.SESSIONS_WRITE, _SESSION),
)
async def delete_session(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], session_id: FromPath[str]
) -> None:
    """Deletes a conversation and everything known of it: messages, and what subscribers were told."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await repository.get(session, caller.project_id, SessionId(session_id))
    await erasing.erase(
        plane.database.pool, ids.parsed(ids.PROJECT, caller.project_id), session=ids.parsed(ids.SESSION, row.id)
    )


async def _living(session: AsyncSession, caller: Caller, session_id: SessionId) -> SessionRow:
    row = await repository.get(session, caller.project_id, session_id, is_locked=True)
    if row.state != SessionState.ACTIVE or row.expires_at <= datetime.now(UTC):
        raise SessionOver
    return row


async def _written(plane: Plane, caller: Caller, session_id: SessionId, data: MessageNew) -> MessageView:
    """Stores the message and orders the turn that answers it, in one transaction."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await _living(session, caller, session_id)
        author = Author(data.author)
        if author is Author.OPERATOR:
            row.is_taken_over = True
            account = plane.accounts.installation
            message = await repository.answer(session, row, author, data.text, installation=account)
        else:
            row.channel, row.number_id = CHANNEL, None
            message = await repository.write(session, row, author, data.text)
            if not row.is_taken_over:
                await repository.order_turn(session, row)
        kind = RECEIVED if author is Author.CONTACT else SENT
        await repository.notify(session, row, kind, message_view(message))
    await news.tell(plane.bus, caller.project_id, session_id)
    return message_view(message)


@asynccontextmanager
async def answer_sessions(plane: Plane) -> AsyncIterator[None]:
    """Sends the turns that are due and takes their answers."""
    async with Lane(plane, KIND).open():
        yield


@asynccontextmanager
async def expire_sessions(plane: Plane) -> AsyncIterator[None]:
    """Ends sessions that nobody writes in any more, and has those answered that somebody's death left waiting."""

    async def sweep() -> None:
        async with plane.database.system() as session, session.begin():
            for row in await repository.expire(session, EXPIRED_AT_ONCE):
                await session.flush()
                await repository.notify(session, row, EXPIRED, session_view(row))
            for row in await repository.forgotten(session, EXPIRED_AT_ONCE):
                if await repository.is_unanswered(session, row):
                    await repository.order_turn(session, row)

    async with repeated("session_expiry", sweep, EXPIRE_EVERY_S):
        yield


CHAT: Final = Slice(
    name="chat",
    routes=(
        create_session,
        open_session,
        list_sessions,
        get_session,
        list_messages,
        write_message,
        write_message_streamed,
        take_session_over,
        release_session,
        end_session,
        delete_session,
    ),
    tasks=(answer_sessions, expire_sessions),
)
