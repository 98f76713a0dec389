"""/v1/projects: made and listed by the operator, read and changed by their own keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PLATFORM, Caller, Permission, in_path, needs
from turncall_control.db.engine import in_project
from turncall_control.duty import repeated
from turncall_control.errors import NotFound
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane, Slice
from turncall_control.projects import repository, signing
from turncall_control.projects.model import ProjectRow
from turncall_control.projects.schemas import ProjectChange, ProjectNew, ProjectView, Rotation, SigningSecret
from turncall_control.settings import changed
from turncall_proto import ids
from turncall_proto.ids import ProjectId

STORE_EVERY_S: Final = 60.0
_BY_OPERATOR: Final = needs(Permission.PLATFORM, IN_PLATFORM)
_IN_PATH: Final = in_path("project_id", ids.PROJECT)


@post("/v1/projects", tags=["projects"], opt=_BY_OPERATOR)
async def create_project(plane: NamedDependency[Plane], data: JSONBody[ProjectNew]) -> ProjectView:
    """Makes a project. Its first key comes from `create_first_key`."""
    async with plane.database.system() as session, session.begin():
        row = await repository.add(session, data.name)
    await signing.store_first(plane, row.id)
    return _view(row)


@get("/v1/projects", tags=["projects"], opt=_BY_OPERATOR)
async def list_projects(plane: NamedDependency[Plane], page: NamedDependency[PageAsked]) -> Page[ProjectView]:
    """All projects, newest first."""
    async with plane.database.system() as session:
        rows = await repository.page(session, page)
    return paged(rows, page, _view, lambda row: (row.id,))


@get("/v1/projects/{project_id:str}", tags=["projects"], opt=needs(Permission.PROJECT_READ, _IN_PATH))
async def get_project(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], project_id: FromPath[str]
) -> ProjectView:
    """The project that the key belongs to."""
    return _view(await _own(session, caller, project_id))


@patch("/v1/projects/{project_id:str}", tags=["projects"], opt=needs(Permission.PROJECT_WRITE, _IN_PATH))
async def change_project(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    project_id: FromPath[str],
    data: JSONBody[ProjectChange],
) -> ProjectView:
    """Changes the name, the settings, or some of the settings. Every replica goes by them within 30 seconds."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await _own(session, caller, project_id, is_locked=True)
        if data.name is not UNSET:
            row.name = data.name
        if data.settings is not UNSET:
            row.settings = changed(row.settings, data.settings)
    plane.settings.forget(row.id)
    return _view(row)


@get("/v1/projects/{project_id:str}/signing-secret", tags=["projects"], opt=needs(Permission.PROJECT_WRITE, _IN_PATH))
async def get_signing_secret(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    project_id: FromPath[str],
) -> SigningSecret:
    """The newest secret by which the project's servers recognise our requests, such as those of webhook tools."""
    project = await _own(session, caller, project_id)
    newest, *_ = signing.signing_secrets(plane.config.key_pepper, project.id, await plane.wallets.open(project.id))
    return SigningSecret(secret=newest.reveal())


@post(
    "/v1/projects/{project_id:str}/signing-secret/rotate",
    status_code=200,
    tags=["projects"],
    opt=needs(Permission.PROJECT_WRITE, _IN_PATH),
)
async def rotate_signing_secret(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    project_id: FromPath[str],
    data: JSONBody[Rotation],
) -> SigningSecret:
    """Makes a new secret. For the overlap requests carry two signatures, so that either secret verifies them."""
    project = await _own(session, caller, project_id)
    return SigningSecret(secret=(await signing.rotate(plane, project.id, data.overlap_s)).reveal())


async def _own(session: AsyncSession, caller: Caller, project_id: str, *, is_locked: bool = False) -> ProjectRow:
    if project_id != caller.project_id:
        raise NotFound
    return await repository.get(session, ProjectId(project_id), is_locked=is_locked)


def _view(row: ProjectRow) -> ProjectView:
    return convert(row, ProjectView, from_attributes=True)


@asynccontextmanager
async def keep_signing_secrets(plane: Plane) -> AsyncIterator[None]:
    """Stores the signing secrets of projects that have none stored."""
    async with repeated("signing_secrets", lambda: signing.store_derived(plane), STORE_EVERY_S):
        yield


PROJECTS: Final = Slice(
    name="projects",
    routes=(create_project, list_projects, get_project, change_project, get_signing_secret, rotate_signing_secret),
    tasks=(keep_signing_secrets,),
)
