"""/v1/calls/{call_id}/analysis, and the same of sessions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.analysis.kind import KIND
from turncall_control.analysis.schemas import AnalysisView, CallAnalyses, SessionAnalyses
from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.calls import repository as calls
from turncall_control.chat import repository as sessions
from turncall_control.chat.model import SessionState
from turncall_control.db.engine import bare
from turncall_control.errors import Conflict
from turncall_control.jobs import orders
from turncall_control.jobs.lane import Lane
from turncall_control.jobs.model import JobRow
from turncall_control.plane import Plane, Slice
from turncall_proto import ids
from turncall_proto.call import FINAL
from turncall_proto.ids import CallId, ProjectId, SessionId
from turncall_proto.job import AnalysisDone, JobFailed

SHOWN: Final = 20
_CALL: Final = in_path("call_id", ids.CALL)
_SESSION: Final = in_path("session_id", ids.SESSION)


class NotAnalysable(Conflict):
    """There is nothing to read yet, or nothing to be found in it."""

    name, title = "not-analysable", "The conversation cannot be analysed"


@get("/v1/calls/{call_id:str}/analysis", tags=["calls"], opt=needs(Permission.CALLS_READ, _CALL))
async def get_call_analysis(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], call_id: FromPath[str]
) -> CallAnalyses:
    """What was made of a call after its end, each time that it was read; the newest reading first."""
    call = await calls.get(session, caller.project_id, CallId(call_id))
    return CallAnalyses(analyses=await _readings(session, caller.project_id, JobRow.call_id == call.id))


@post(
    "/v1/calls/{call_id:str}/analysis",
    tags=["calls"],
    status_code=202,
    opt=needs(Permission.CALLS_WRITE, _CALL, fails=[NotAnalysable], idempotent=True),
)
async def analyse_call(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
) -> AnalysisView:
    """Has a call that is over read anew; a reading that is under way is the answer. `call.ended` is not sent again."""
    call = await calls.get(session, caller.project_id, CallId(call_id))
    if call.status not in FINAL:
        raise NotAnalysable("The call is not over yet")
    job_id = await orders.analysis(await bare(session), call.id)
    if job_id is None:
        raise NotAnalysable("Nobody spoke on it, or its agent's config has no `analysis`")
    row = await session.get_one(JobRow, job_id)
    return view(row)


@get("/v1/sessions/{session_id:str}/analysis", tags=["sessions"], opt=needs(Permission.SESSIONS_READ, _SESSION))
async def get_session_analysis(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], session_id: FromPath[str]
) -> SessionAnalyses:
    """What was made of a conversation in writing after its end, each time that it was read; the newest first."""
    row = await sessions.get(session, caller.project_id, SessionId(session_id))
    return SessionAnalyses(analyses=await _readings(session, caller.project_id, JobRow.session_id == row.id))


@post(
    "/v1/sessions/{session_id:str}/analysis",
    tags=["sessions"],
    status_code=202,
    opt=needs(Permission.SESSIONS_WRITE, _SESSION, fails=[NotAnalysable], idempotent=True),
)
async def analyse_session(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], session_id: FromPath[str]
) -> AnalysisView:
    """Has a conversation in writing that is over read anew; a reading that is under way is the answer."""
    row = await sessions.get(session, caller.project_id, SessionId(session_id))
    if row.state == SessionState.ACTIVE:
        raise NotAnalysable("The session is not over yet")
    job_id = await orders.session_analysis(await bare(session), row.id)
    if job_id is None:
        raise NotAnalysable("Nobody wrote in it, or its agent's config has no `analysis`")
    return view(await session.get_one(JobRow, job_id))


async def _readings(session: AsyncSession, project_id: ProjectId, of: ColumnElement[bool]) -> tuple[AnalysisView, ...]:
    rows = await session.scalars(
        select(JobRow)
        .where(of, JobRow.kind == orders.ANALYSIS, JobRow.project_id == project_id)
        .order_by(JobRow.created_at.desc(), JobRow.id.desc())
        .limit(SHOWN)
    )
    return tuple(view(row) for row in rows)


def view(row: JobRow) -> AnalysisView:
    """A job's row as users see it."""
    answer = None if row.answer is None else msgspec.convert(row.answer, AnalysisDone | JobFailed)
    return AnalysisView(
        id=row.id,
        state=row.state,
        created_at=row.created_at,
        ended_at=row.ended_at,
        findings=answer.findings if isinstance(answer, AnalysisDone) else None,
        detail=row.detail,
        used=() if answer is None else answer.used,
    )


@asynccontextmanager
async def analyse_calls(plane: Plane) -> AsyncIterator[None]:
    """Sends the analyses that are due and takes what was found."""
    async with Lane(plane, KIND).open():
        yield


ANALYSIS: Final = Slice(
    name="analysis",
    routes=(get_call_analysis, analyse_call, get_session_analysis, analyse_session),
    tasks=(analyse_calls,),
)
