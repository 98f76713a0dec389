"""/v1/calls/{call_id}/replay: a recorded call is had again with another version."""

from typing import Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.calls import repository as calls
from turncall_control.db.base import owned
from turncall_control.errors import Conflict
from turncall_control.http.paging import Page, PageAsked, newest_first, paged
from turncall_control.plane import Plane
from turncall_control.suites import replaying, starting
from turncall_control.suites.model import ReplayRow, ReplayState
from turncall_control.suites.schemas import ReplayNew, ReplayView
from turncall_control.suites.starting import NoTestLine
from turncall_control.suites.views import replay_view
from turncall_proto import ids
from turncall_proto.events import RecordingReady
from turncall_proto.ids import CallId, ProjectId, ReplayId

MOST_RUNNING: Final = 10
"""Replays of one project at a time."""
_CALL: Final = in_path("call_id", ids.CALL)


class NotReplayable(Conflict):
    """The call is not over, or there is no recording of it that could be played."""

    name, title = "not-replayable", "The call cannot be replayed"


class TooManyReplays(Conflict):
    """So many of the project's replays are under way that no more are begun."""

    name, title = "too-many-replays", "Too many replays are under way"


@post(
    "/v1/calls/{call_id:str}/replay",
    status_code=201,
    tags=["tests"],
    opt=needs(Permission.TESTS_WRITE, _CALL, fails=[NotReplayable, TooManyReplays, NoTestLine], idempotent=True),
)
async def replay_call(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    data: JSONBody[ReplayNew],
) -> ReplayView:
    """Has a recorded call again with another version: its caller's own sound, each utterance as long behind the agent's
    words as it was, over a real call to the test line. The agent's tools answer what they answered then; a use that the
    record does not answer fails, and the difference says so. The replay is erased with the call.
    """
    call = await calls.get(session, caller.project_id, CallId(call_id))
    try:
        replaying.tape_of(call, await calls.facts_of(session, call.project_id, call.id, RecordingReady))
    except replaying.NotReplayable as error:
        raise NotReplayable(str(error)) from error
    version = await starting.named(session, caller.project_id, data.agent_id, data.version_id)
    line = await starting.phone_line(plane, session, caller.project_id, data.from_number)
    if await _running(session, caller.project_id) >= MOST_RUNNING:
        raise TooManyReplays(f"{MOST_RUNNING} are under way; wait for one")
    row = ReplayRow(
        id=ReplayId(ids.mint(ids.REPLAY)),
        project_id=caller.project_id,
        call_id=call.id,
        agent_id=version.agent_id,
        version_id=version.id,
        version_number=version.number,
        agent=version.config,
        account=line.account,
        from_number=line.from_number,
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return replay_view(row)


@get("/v1/calls/{call_id:str}/replays", tags=["tests"], opt=needs(Permission.TESTS_READ, _CALL))
async def list_call_replays(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    page: NamedDependency[PageAsked],
) -> Page[ReplayView]:
    """The replays of a call, newest first, each with what has changed from the call to it."""
    call = await calls.get(session, caller.project_id, CallId(call_id))
    statement = select(ReplayRow).where(ReplayRow.call_id == call.id, owned(ReplayRow.project_id, caller.project_id))
    rows = (await session.scalars(newest_first(statement, ReplayRow.id, ids.REPLAY, page))).all()
    return paged(rows, page, replay_view, lambda row: (row.id,))


async def _running(session: AsyncSession, project_id: ProjectId) -> int:
    counted = select(func.count()).where(
        owned(ReplayRow.project_id, project_id), ReplayRow.state == ReplayState.RUNNING
    )
    return await session.scalar(counted) or 0
