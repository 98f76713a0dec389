"""Deleting for good: a project, a call, the calls of a number."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from litestar import delete, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from turncall_blobs import BlobError
from turncall_control.auth import IN_PLATFORM, IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.calls import erasing, repository
from turncall_control.chat import erasing as chat
from turncall_control.db.engine import in_project
from turncall_control.erasure import duties
from turncall_control.erasure.schemas import NumberErased, PersonNumber, ProjectDeletion
from turncall_control.errors import Conflict, NotFound, Unavailable
from turncall_control.plane import Plane, Slice
from turncall_control.projects.model import ProjectRow
from turncall_proto import ids
from turncall_proto.ids import CallId, ProjectId

WORK_FOR_S: Final = 8.0
"""How long one request goes on to delete calls of a number."""

_PROJECT: Final = in_path("project_id", ids.PROJECT, within=IN_PLATFORM)
_OF_NUMBER: Final = (
    "c.project_id = %(project)s and (c.direction = 'inbound' and c.from_number = %(number)s"
    " or c.direction = 'outbound' and c.to_number = %(number)s)"
)


class ProjectLives(Conflict):
    """What is to be purged has to be deleted first: two steps, since there is no way back from the second."""

    name, title = "project-lives", "The project has not been deleted"


class CallUnsettled(Conflict):
    """Facts of the call may still come: erased, it would be made anew."""

    name, title = "call-unsettled", "The call is live, or was a moment ago"


@delete(
    "/v1/projects/{project_id:str}",
    status_code=200,
    tags=["projects"],
    opt=needs(Permission.PLATFORM, _PROJECT, fails=[NotFound]),
)
async def delete_project(plane: NamedDependency[Plane], project_id: FromPath[str]) -> ProjectDeletion:
    """Deletes a project: its keys stop, its numbers are released at the carrier, its live calls end.

    Everything in it is purged after the installation's grace period. A repeat changes nothing.
    """
    project = ProjectId(project_id)
    async with plane.database.system() as session, session.begin():
        row = await session.get(ProjectRow, project, with_for_update=True)
        if row is None:
            raise NotFound
        if row.deleted_at is None:
            row.deleted_at = datetime.now(UTC)
            row.purge_at = row.deleted_at + timedelta(days=plane.config.project_grace_days)
    plane.keyring.forget_project(project)
    plane.settings.forget(project)
    return _deletion(row)


@post(
    "/v1/projects/{project_id:str}/purge",
    status_code=202,
    tags=["projects"],
    opt=needs(Permission.PLATFORM, _PROJECT, fails=[NotFound, ProjectLives]),
)
async def purge_project(plane: NamedDependency[Plane], project_id: FromPath[str]) -> ProjectDeletion:
    """Purges a deleted project now, which takes as long as its calls take to end; once it is done this is a 404."""
    async with plane.database.system() as session, session.begin():
        row = await session.get(ProjectRow, ProjectId(project_id), with_for_update=True)
        if row is None:
            raise NotFound
        if row.purge_at is None:
            raise ProjectLives("delete it first")
        row.purge_at = min(row.purge_at, datetime.now(UTC))
    return _deletion(row)


@delete(
    "/v1/calls/{call_id:str}",
    tags=["calls"],
    opt=needs(Permission.CALLS_WRITE, in_path("call_id", ids.CALL), fails=[CallUnsettled, Unavailable]),
)
async def delete_call(plane: NamedDependency[Plane], caller: NamedDependency[Caller], call_id: FromPath[str]) -> None:
    """Deletes a call and everything known of it: facts, transcript, recording, deliveries. 409 until it is settled."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await repository.get(session, caller.project_id, CallId(call_id))
    if row.settled_at is None:
        raise CallUnsettled("end it, and try again when a minute has passed")
    values = {"call": ids.parsed(ids.CALL, row.id), "project": ids.parsed(ids.PROJECT, row.project_id)}
    try:
        await erasing.erase(
            plane.database.pool, plane.blobs, "c.id = %(call)s and c.project_id = %(project)s", values, waits=True
        )
    except BlobError as error:
        raise Unavailable("the object store cannot be reached, so the call is still there") from error


@post(
    "/v1/calls/delete-by-number",
    status_code=200,
    tags=["calls"],
    opt=needs(Permission.CALLS_WRITE, IN_PROJECT, fails=[Unavailable]),
)
async def delete_calls_of_number(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: JSONBody[PersonNumber]
) -> NumberErased:
    """Deletes the calls that came from a person's number or went to it, and what the person wrote under it. Ask again
    until nothing is left."""
    values = {"project": ids.parsed(ids.PROJECT, caller.project_id), "number": data.number}
    pool, deleted, until_s = plane.database.pool, 0, time.monotonic() + WORK_FOR_S
    try:
        while time.monotonic() < until_s:
            erased = await erasing.erase(pool, plane.blobs, f"{_OF_NUMBER} and c.settled_at is not null", values)
            deleted += erased
            if erased < erasing.AT_ONCE:
                break
    except BlobError as error:
        raise Unavailable("the object store cannot be reached; what was deleted so far is gone") from error
    sessions = await chat.erase(pool, values["project"], contact=data.number)
    async with pool.connection() as connection:
        cursor = await connection.execute(
            f"select count(*) filter (where c.settled_at is not null), count(*) filter (where c.settled_at is null)"
            f" from calls c where {_OF_NUMBER}",
            values,
        )
        remaining, unsettled = await cursor.fetchone() or (0, 0)
    return NumberErased(deleted=deleted, sessions=sessions, remaining=remaining, unsettled=unsettled)


def _deletion(row: ProjectRow) -> ProjectDeletion:
    assert row.deleted_at is not None
    assert row.purge_at is not None
    return ProjectDeletion(project_id=row.id, deleted_at=row.deleted_at, purge_at=row.purge_at)


ERASURE: Final = Slice(
    name="erasure",
    routes=(delete_project, purge_project, delete_call, delete_calls_of_number),
    tasks=(duties.empty_projects, duties.keep_no_longer),
)
