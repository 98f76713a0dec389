"""Runs that begin by themselves. A schedule whose time passed while nobody looked is run once, not for each time."""

from datetime import UTC, datetime, timedelta
from typing import Final

from cronsim import CronSim, CronSimError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository as agents
from turncall_control.dials.policy import zone_named
from turncall_control.errors import Invalid
from turncall_control.plane import Plane
from turncall_control.projects.model import ProjectRow
from turncall_control.suites import starting
from turncall_control.suites.model import ScheduleRow, SuiteRow
from turncall_runtime import logs

LOOK_EVERY_S: Final = 5.0
AT_ONCE: Final = 20
"""Schedules that one look takes up."""
ROOM_AGAIN: Final = timedelta(minutes=1)
"""After which a schedule of a project with too many runs is due again: others are not kept waiting behind it."""

log = logs.logger(__name__)


def due_after(cron: str, time_zone: str, moment: datetime) -> datetime:
    """The first time of a schedule behind ``moment``, in UTC. Raises `Invalid`, with the field.

    When clocks are put forward, what was due within the hour that is left out is due at once after it, and when they
    are put back, it is due once, as with Debian's cron (github.com/cuu508/cronsim).
    """
    zone = zone_named(time_zone)
    if zone is None:
        raise Invalid.at("time_zone", "There is no time zone of this name")
    try:
        found = next(CronSim(cron, moment.astimezone(zone)), None)
    except CronSimError as error:
        raise Invalid.at("cron", f"{error}; it has minute, hour, day, month and weekday") from error
    if found is None:
        raise Invalid.at("cron", "It never comes")
    return found.astimezone(UTC)


async def attend(plane: Plane) -> None:
    """Begins what is due and what nobody else has in hand; the time of each is moved on with it, in one transaction."""
    async with plane.database.system() as session, session.begin():
        found = await session.scalars(
            select(ScheduleRow)
            .join(ProjectRow, ProjectRow.id == ScheduleRow.project_id)
            .where(ScheduleRow.next_at <= func.now(), ProjectRow.deleted_at.is_(None))
            .order_by(ScheduleRow.next_at)
            .limit(AT_ONCE)
            .with_for_update(of=ScheduleRow, skip_locked=True)
        )
        for row in found.all():
            await _begin(session, row)


async def _begin(session: AsyncSession, row: ScheduleRow) -> None:
    """One run, unless something is in the way: that is kept with the schedule. A lack of room is waited out."""
    suite = await session.get_one(SuiteRow, row.suite_id)
    version = await agents.in_service(session, row.project_id, row.agent_id)
    try:
        if version is None:
            raise Invalid.at("agent_id", "It has no published version")
        run = await starting.begin(session, suite, version, row.tries)
    except starting.TooManyRuns as error:
        row.problem, row.next_at = error.detail, datetime.now(UTC) + ROOM_AGAIN
        return
    except Invalid as error:
        row.problem = "; ".join(f"{fault.field}: {fault.message}" for fault in error.faults)
        log.warning("test_schedule.skipped", suite_id=row.suite_id, agent_id=row.agent_id, problem=row.problem)
    else:
        row.last_run_id, row.problem = run.id, ""
    row.next_at = due_after(row.cron, row.time_zone, datetime.now(UTC))
