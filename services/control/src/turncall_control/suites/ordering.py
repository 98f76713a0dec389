"""Ordering the jobs of trials."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.jobs.model import JobRow
from turncall_proto import ids
from turncall_proto.ids import JobId, ProjectId

TRIAL: Final = "trial"
JUDGEMENT: Final = "judgement"


async def order(session: AsyncSession, project_id: ProjectId, kind: str) -> JobId:
    """Orders a job, in the transaction of ``session``."""
    row = JobRow(id=JobId(ids.mint(ids.JOB)), project_id=project_id, kind=kind)
    session.add(row)
    await session.flush()
    return row.id
