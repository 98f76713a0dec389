"""Runs on their way: trials are begun as there is room, and a run whose trials are over is completed."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.plane import Plane
from turncall_control.suites import ordering, repository
from turncall_control.suites.model import UNDER_WAY, RunRow, RunState, TrialRow, TrialState
from turncall_control.suites.views import run_view
from turncall_control.webhooks.runs import RUN_COMPLETED
from turncall_control.webhooks.telling import tell
from turncall_proto import ids

LOOK_EVERY_S: Final = 0.5
AT_ONCE: Final = 50
"""Runs that one look takes up."""


async def attend(plane: Plane) -> None:
    """Takes up every run that nobody else has in hand."""
    async with plane.database.system() as session, session.begin():
        found = await session.scalars(
            select(RunRow)
            .where(RunRow.state == RunState.RUNNING)
            .order_by(RunRow.id)
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        for row in found.all():
            await _give_up(session, row)
            await _go_on(session, row)


async def _go_on(session: AsyncSession, row: RunRow) -> None:
    """Begins as many trials as there is room for; completes the run when none is left."""
    counted = await session.execute(
        select(TrialRow.state, func.count()).where(TrialRow.run_id == row.id).group_by(TrialRow.state)
    )
    counts: dict[TrialState, int] = {state: count for state, count in counted}  # noqa: C416 - of rows, which are typed
    under_way = sum(counts.get(state, 0) for state in UNDER_WAY)
    if not under_way and not counts.get(TrialState.QUEUED):
        await conclude(session, row, RunState.COMPLETED)
        return
    queued = await session.scalars(
        select(TrialRow)
        .where(TrialRow.run_id == row.id, TrialRow.state == TrialState.QUEUED)
        .order_by(TrialRow.number)
        .limit(max(0, row.at_once - under_way))
    )
    for trial in queued.all():
        trial.state, trial.began_at = TrialState.TALKING, datetime.now(UTC)
        if row.mode == "text":
            trial.job_id = await ordering.order(session, row.project_id, ordering.TRIAL)


async def _give_up(session: AsyncSession, row: RunRow) -> None:
    """Trials whose job was given up without an answer are over: nobody has told them."""
    await session.execute(
        text(
            "update test_trials t set state = 'error', detail = j.detail, ended_at = now(), job_id = null from jobs j"
            " where t.run_id = :run and t.job_id = j.id and j.state = 'failed' and t.state in ('talking', 'judging')"
        ),
        {"run": ids.parsed(ids.RUN, row.id)},
    )


async def cancel(session: AsyncSession, row: RunRow) -> None:
    """Ends a locked run that is under way. What its conversations still come to is not awaited."""
    await session.execute(
        update(TrialRow)
        .where(TrialRow.run_id == row.id, TrialRow.state.in_({TrialState.QUEUED, *UNDER_WAY}))
        .values(state=TrialState.CANCELED, job_id=None, ended_at=func.now())
        .execution_options(synchronize_session=False)
    )
    await conclude(session, row, RunState.CANCELED)


async def conclude(session: AsyncSession, row: RunRow, state: RunState) -> None:
    """Ends a locked run, and tells subscribers."""
    row.state, row.ended_at = state, datetime.now(UTC)
    await session.flush()
    view = run_view(row, await repository.tried(session, row))
    await tell(session, row.project_id, row.agent_id, RUN_COMPLETED, view)
