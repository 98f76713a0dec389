"""/v1/test-suites/…/schedules: when suites are run by themselves."""

from datetime import UTC, datetime
from typing import Final

from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository as agents
from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.db.base import owned
from turncall_control.errors import NotFound
from turncall_control.http.paging import Page, PageAsked, newest_first, paged
from turncall_control.suites import repository, starting
from turncall_control.suites.model import ScheduleRow
from turncall_control.suites.schedules import due_after
from turncall_control.suites.schemas import ScheduleFile, ScheduleView
from turncall_control.suites.spec import Tries
from turncall_proto import ids
from turncall_proto.ids import AgentId, SuiteId

_SUITE: Final = in_path("suite_id", ids.SUITE)
_SCHEDULE: Final = in_path("agent_id", ids.AGENT, within=_SUITE)
_PATH: Final = "/v1/test-suites/{suite_id:str}/schedules"


@put(f"{_PATH}/{{agent_id:str}}", tags=["tests"], opt=needs(Permission.TESTS_WRITE, _SCHEDULE))
async def put_test_schedule(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    suite_id: FromPath[str],
    agent_id: FromPath[str],
    data: JSONBody[ScheduleFile],
) -> ScheduleView:
    """Runs the suite against the agent's published version at the times of a clock; brings what there is to what is
    sent. What was due while no server ran is run once. ``test_run.completed`` tells how each run ended.
    """
    suite = await repository.suite(session, caller.project_id, SuiteId(suite_id))
    agent = await agents.get(session, caller.project_id, AgentId(agent_id))
    next_at = due_after(data.cron, data.time_zone, datetime.now(UTC))
    starting.chosen(suite.spec, data)
    row = await session.get(ScheduleRow, (suite.id, agent.id), with_for_update=True)
    if row is None:
        row = ScheduleRow(suite_id=suite.id, agent_id=agent.id, project_id=caller.project_id)
        session.add(row)
    row.cron, row.time_zone = data.cron, data.time_zone
    row.tries = Tries(scenarios=data.scenarios, repeats=data.repeats, at_once=data.at_once)
    row.next_at, row.problem = None if data.is_paused else next_at, ""
    await session.flush()
    await session.refresh(row)
    return _view(row)


@get(_PATH, tags=["tests"], opt=needs(Permission.TESTS_READ, _SUITE))
async def list_test_schedules(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    suite_id: FromPath[str],
) -> Page[ScheduleView]:
    """When the suite is run by itself, agent by agent."""
    suite = await repository.suite(session, caller.project_id, SuiteId(suite_id))
    statement = select(ScheduleRow).where(
        ScheduleRow.suite_id == suite.id, owned(ScheduleRow.project_id, caller.project_id)
    )
    rows = (await session.scalars(newest_first(statement, ScheduleRow.agent_id, ids.AGENT, page))).all()
    return paged(rows, page, _view, lambda row: (row.agent_id,))


@delete(f"{_PATH}/{{agent_id:str}}", tags=["tests"], opt=needs(Permission.TESTS_WRITE, _SCHEDULE))
async def delete_test_schedule(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    suite_id: FromPath[str],
    agent_id: FromPath[str],
) -> None:
    """Runs the suite against the agent by itself no more. Runs under way go on."""
    statement = select(ScheduleRow).where(
        ScheduleRow.suite_id == SuiteId(suite_id),
        ScheduleRow.agent_id == AgentId(agent_id),
        owned(ScheduleRow.project_id, caller.project_id),
    )
    row = await session.scalar(statement)
    if row is None:
        raise NotFound
    await session.delete(row)
    await session.flush()


def _view(row: ScheduleRow) -> ScheduleView:
    return ScheduleView(
        suite_id=row.suite_id,
        agent_id=row.agent_id,
        cron=row.cron,
        time_zone=row.time_zone,
        scenarios=row.tries.scenarios,
        repeats=row.tries.repeats,
        at_once=row.tries.at_once,
        is_paused=row.next_at is None,
        next_at=row.next_at,
        last_run_id=row.last_run_id,
        problem=row.problem,
    )
