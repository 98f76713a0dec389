"""/v1/keys: a project's keys, and the first one by the operator."""

from datetime import UTC, datetime
from typing import Annotated, Final

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, Role, in_path, needs
from turncall_control.db.engine import in_project
from turncall_control.errors import Conflict, Forbidden, Invalid
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.keyring import new_key
from turncall_control.keys import repository
from turncall_control.keys.model import KeyRow
from turncall_control.keys.schemas import KeyMade, KeyNew, KeyRotation, KeyView
from turncall_control.plane import Plane, Slice
from turncall_control.projects import repository as projects
from turncall_proto import ids
from turncall_proto.ids import KeyId, ProjectId


class KeyOver(Conflict):
    """A key that is revoked or expired has nothing to hand on."""

    name, title = "key-over", "The key is revoked or expired"


class AlreadyRotated(Conflict):
    """Two keys live at a time, not more: the newer one is the one to rotate."""

    name, title = "already-rotated", "The key has a successor"


@post(
    "/v1/projects/{project_id:str}/keys",
    tags=["keys"],
    opt=needs(Permission.PLATFORM, in_path("project_id", ids.PROJECT)),
)
async def create_first_key(plane: NamedDependency[Plane], project_id: FromPath[str], data: JSONBody[KeyNew]) -> KeyMade:
    """A key of any role for a project: its first one, or one for people who have locked themselves out."""
    async with plane.database.system() as session, session.begin():
        project = await projects.get(session, ProjectId(project_id))
        return await _make(plane, session, project.id, data.name, data.role, data.expires_at)


@post("/v1/keys", tags=["keys"], opt=needs(Permission.KEYS_WRITE, IN_PROJECT))
async def create_key(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[KeyNew],
) -> KeyMade:
    """A key for this project, of the caller's role at most."""
    _within_role(caller, data.role)
    return await _make(plane, session, caller.project_id, data.name, data.role, data.expires_at)


@post(
    "/v1/keys/{key_id:str}/rotate",
    tags=["keys"],
    opt=needs(Permission.KEYS_WRITE, in_path("key_id", ids.KEY), fails=[KeyOver, AlreadyRotated]),
)
async def rotate_key(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], key_id: FromPath[str], data: JSONBody[KeyRotation]
) -> KeyMade:
    """A new key of the same name and role; the old one works beside it for a while. Of the caller's role at most."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await repository.lock(session, caller.project_id, KeyId(key_id))
        _within_role(caller, row.role)
        if not repository.is_live(row):
            raise KeyOver
        if row.successor_id is not None:
            raise AlreadyRotated(f"rotate {row.successor_id}, or revoke this one")
        made = await _make(plane, session, caller.project_id, row.name, row.role, data.expires_at)
        repository.replace(row, made.key.id, data.overlap_s)
    plane.keyring.forget(row.id)
    return made


@get("/v1/keys", tags=["keys"], opt=needs(Permission.KEYS_READ, IN_PROJECT))
async def list_keys(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    role: Annotated[Role | None, QueryParameter(description="Of this role.")] = None,
    is_live: Annotated[bool | None, QueryParameter(description="Neither revoked nor expired, or one of them.")] = None,
) -> Page[KeyView]:
    """The project's keys, newest first, revoked ones included."""
    rows = await repository.page(session, caller.project_id, page, role=role, is_live=is_live)
    return paged(rows, page, _view, lambda row: (row.id,))


@delete(
    "/v1/keys/{key_id:str}",
    status_code=200,
    tags=["keys"],
    opt=needs(Permission.KEYS_WRITE, in_path("key_id", ids.KEY)),
)
async def revoke_key(plane: NamedDependency[Plane], caller: NamedDependency[Caller], key_id: FromPath[str]) -> KeyView:
    """Revokes a key of the caller's role at most; it opens nothing anywhere after five seconds."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await repository.lock(session, caller.project_id, KeyId(key_id))
        _within_role(caller, row.role)
        repository.revoke(row)
    plane.keyring.forget(row.id)
    return _view(row)


async def _make(
    plane: Plane, session: AsyncSession, project_id: ProjectId, name: str, role: Role, expires_at: datetime | None
) -> KeyMade:
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise Invalid.at("expires_at", "It lies in the past")
    made = new_key(plane.config.key_pepper)
    row = await repository.add(session, project_id, made, name=name, role=role, expires_at=expires_at)
    return KeyMade(key=_view(row), secret=made.text.reveal())


def _within_role(caller: Caller, role: Role) -> None:
    if not caller.role.covers(role):
        raise Forbidden(f"a key of the role {caller.role} neither makes nor revokes one of the role {role}")


def _view(row: KeyRow) -> KeyView:
    return convert(row, KeyView, from_attributes=True)


KEYS: Final = Slice(name="keys", routes=(create_first_key, create_key, list_keys, rotate_key, revoke_key))
