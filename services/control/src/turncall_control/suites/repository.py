"""Reading and writing suites, runs and trials."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.model import VersionRow, VersionState
from turncall_control.calls.model import CallEventRow
from turncall_control.db.base import owned
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, asked_for, newest_first
from turncall_control.suites import hearing
from turncall_control.suites.model import RunRow, RunState, SuiteRow, TrialRow
from turncall_control.suites.summary import Tried
from turncall_proto import ids
from turncall_proto.ids import AgentId, CallId, ProjectId, RunId, SuiteId, VersionId


async def suite(session: AsyncSession, project_id: ProjectId, suite_id: SuiteId) -> SuiteRow:
    """One suite of the project. Raises `NotFound`."""
    statement = select(SuiteRow).where(SuiteRow.id == suite_id, owned(SuiteRow.project_id, project_id))
    return _found(await session.scalar(statement))


async def named(session: AsyncSession, project_id: ProjectId, name: str) -> SuiteRow | None:
    """The project's suite of this name, for this transaction alone."""
    statement = select(SuiteRow).where(SuiteRow.name == name, owned(SuiteRow.project_id, project_id))
    return await session.scalar(statement.with_for_update())


async def suites(
    session: AsyncSession, project_id: ProjectId, asked: PageAsked, *, name: str | None
) -> Sequence[SuiteRow]:
    """A page of the project's suites, newest first."""
    statement = select(SuiteRow).where(owned(SuiteRow.project_id, project_id))
    if name is not None:
        statement = statement.where(SuiteRow.name == name)
    return (await session.scalars(newest_first(statement, SuiteRow.id, ids.SUITE, asked))).all()


async def remove(session: AsyncSession, row: SuiteRow) -> None:
    """Deletes a suite. Its runs stay, as runs of none."""
    await session.execute(
        update(RunRow)
        .where(RunRow.suite_id == row.id, owned(RunRow.project_id, row.project_id))
        .values(suite_id=None)
        .execution_options(synchronize_session=False)
    )
    await session.delete(row)
    await session.flush()


async def tested(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId | None, version_id: VersionId | None
) -> VersionRow | None:
    """The version that is named, in whatever state, or the agent's published one; None when there is none."""
    statement = select(VersionRow).where(owned(VersionRow.project_id, project_id))
    if version_id is not None:
        return await session.scalar(statement.where(VersionRow.id == version_id))
    return await session.scalar(
        statement.where(VersionRow.agent_id == agent_id, VersionRow.state == VersionState.PUBLISHED)
    )


async def running(session: AsyncSession, project_id: ProjectId) -> int:
    """How many runs of the project are under way."""
    counted = select(func.count()).where(owned(RunRow.project_id, project_id), RunRow.state == RunState.RUNNING)
    return await session.scalar(counted) or 0


async def add_run(session: AsyncSession, row: RunRow) -> RunRow:
    """A new run with all its trials, repeat by repeat, so that each scenario is tried once before any is repeated."""
    session.add(row)
    await session.flush()
    trials = [
        {
            "id": ids.mint(ids.TRIAL),
            "project_id": row.project_id,
            "run_id": row.id,
            "number": repeat * len(row.spec.scenarios) + index + 1,
            "scenario": scenario.name,
            "repeat": repeat + 1,
        }
        for repeat in range(row.repeats)
        for index, scenario in enumerate(row.spec.scenarios)
    ]
    await session.execute(insert(TrialRow), trials)
    await session.refresh(row)
    return row


async def run(session: AsyncSession, project_id: ProjectId, run_id: RunId, *, is_locked: bool = False) -> RunRow:
    """One run of the project. Raises `NotFound`."""
    statement = select(RunRow).where(RunRow.id == run_id, owned(RunRow.project_id, project_id))
    return _found(await session.scalar(statement.with_for_update() if is_locked else statement))


async def runs(
    session: AsyncSession,
    project_id: ProjectId,
    asked: PageAsked,
    *,
    suite_id: SuiteId | None,
    agent_id: AgentId | None,
    state: RunState | None,
) -> Sequence[RunRow]:
    """A page of the project's runs, newest first."""
    statement = select(RunRow).where(
        owned(RunRow.project_id, project_id),
        *asked_for((RunRow.suite_id, suite_id), (RunRow.agent_id, agent_id), (RunRow.state, state)),
    )
    return (await session.scalars(newest_first(statement, RunRow.id, ids.RUN, asked))).all()


async def tried(session: AsyncSession, row: RunRow) -> list[Tried]:
    """What a run's trials add up from, in order."""
    found = await session.execute(
        select(TrialRow.scenario, TrialRow.state, TrialRow.used)
        .where(TrialRow.run_id == row.id, owned(TrialRow.project_id, row.project_id))
        .order_by(TrialRow.number)
    )
    return [Tried(scenario=one.scenario, state=one.state, used=one.used) for one in found]


async def trials(session: AsyncSession, row: RunRow, *, after: int, limit: int) -> Sequence[TrialRow]:
    """The trials of a run behind number ``after``."""
    statement = (
        select(TrialRow)
        .where(TrialRow.run_id == row.id, TrialRow.number > after, owned(TrialRow.project_id, row.project_id))
        .order_by(TrialRow.number)
        .limit(limit)
    )
    return (await session.scalars(statement)).all()


async def facts(session: AsyncSession, call_id: CallId) -> list[hearing.Fact]:
    """What a conversation by phone is read from. It is for background work, which sees every project."""
    rows = await session.scalars(
        select(CallEventRow.payload)
        .where(CallEventRow.call_id == call_id, CallEventRow.type.in_(hearing.TAGS))
        .order_by(CallEventRow.call_seq)
    )
    kind: Any = hearing.Fact
    return [msgspec.convert(payload, kind) for payload in rows]


def _found[RowT](row: RowT | None) -> RowT:
    if row is None:
        raise NotFound
    return row
