"""/v1/takeaways: named schemas that agents share."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.check import object_faults
from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.db.base import owned
from turncall_control.errors import Conflict, Invalid, NotFound
from turncall_control.http.paging import Page, PageAsked, newest_first, paged
from turncall_control.plane import Slice
from turncall_control.takeaways.model import TakeawayRow
from turncall_control.takeaways.schemas import TakeawayChange, TakeawayNew, TakeawayView
from turncall_proto import ids
from turncall_proto.ids import ProjectId, TakeawayId

_TAKEAWAY: Final = in_path("takeaway_id", ids.TAKEAWAY)
_READ, _WRITE = Permission.AGENTS_READ, Permission.AGENTS_WRITE


class TakeawayNameTaken(Conflict):
    """Names are unique among a project's takeaways."""

    name, title = "name-taken", "The name is taken"


class TakeawayInUse(Conflict):
    """An agent names the takeaway, in its draft or its published version."""

    name, title = "takeaway-in-use", "The takeaway is in use"


@post(
    "/v1/takeaways",
    status_code=201,
    tags=["takeaways"],
    opt=needs(_WRITE, IN_PROJECT, fails=[TakeawayNameTaken], idempotent=True),
)
async def create_takeaway(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], data: JSONBody[TakeawayNew]
) -> TakeawayView:
    """Makes a takeaway; an agent whose `analysis.takeaways` names it has it taken out of each conversation."""
    _check(data.schema)
    row = TakeawayRow(
        id=TakeawayId(ids.mint(ids.TAKEAWAY)),
        project_id=caller.project_id,
        name=data.name,
        description=data.description,
        instructions=data.instructions,
        schema=data.schema,
    )
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        raise TakeawayNameTaken(f"there is a takeaway {data.name} already") from error
    await session.refresh(row)
    return view(row)


@get("/v1/takeaways", tags=["takeaways"], opt=needs(_READ, IN_PROJECT))
async def list_takeaways(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    name: Annotated[str | None, QueryParameter(max_length=64, description="Exactly this name.")] = None,
) -> Page[TakeawayView]:
    """The project's takeaways, newest first."""
    statement = select(TakeawayRow).where(owned(TakeawayRow.project_id, caller.project_id))
    if name is not None:
        statement = statement.where(TakeawayRow.name == name)
    found = await session.scalars(newest_first(statement, TakeawayRow.id, ids.TAKEAWAY, page))
    rows: Sequence[TakeawayRow] = found.all()
    return paged(rows, page, view, lambda row: (row.id,))


@get("/v1/takeaways/{takeaway_id:str}", tags=["takeaways"], opt=needs(_READ, _TAKEAWAY))
async def get_takeaway(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], takeaway_id: FromPath[str]
) -> TakeawayView:
    """One takeaway."""
    return view(await _get(session, caller.project_id, takeaway_id))


@patch("/v1/takeaways/{takeaway_id:str}", tags=["takeaways"], opt=needs(_WRITE, _TAKEAWAY))
async def change_takeaway(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    takeaway_id: FromPath[str],
    data: JSONBody[TakeawayChange],
) -> TakeawayView:
    """Changes what is given, from the next reading on; what was taken out before stays as it is."""
    if data.schema is not UNSET:
        _check(data.schema)
    row = await _get(session, caller.project_id, takeaway_id)
    for field in data.__struct_fields__:
        value = getattr(data, field)
        if value is not UNSET:
            setattr(row, field, value)
    row.changed_at = func.now()
    await session.flush()
    await session.refresh(row)
    return view(row)


@delete("/v1/takeaways/{takeaway_id:str}", tags=["takeaways"], opt=needs(_WRITE, _TAKEAWAY, fails=[TakeawayInUse]))
async def delete_takeaway(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], takeaway_id: FromPath[str]
) -> None:
    """Deletes a takeaway; 409 while an agent names it. What was taken out stays with its conversation."""
    row = await _get(session, caller.project_id, takeaway_id)
    agents = await session.scalar(
        text(
            "select count(distinct agent_id) from agent_versions where project_id = :project"
            " and state in ('draft', 'published') and config -> 'analysis' -> 'takeaways' @> cast(:name as jsonb)"
        ),
        {"project": ids.parsed(ids.PROJECT, row.project_id), "name": msgspec.json.encode([row.name]).decode()},
    )
    if agents:
        raise TakeawayInUse(f"{agents} agents name it; take it out of their drafts and published versions first")
    await session.delete(row)


def view(row: TakeawayRow) -> TakeawayView:
    """A takeaway's row as users see it."""
    return TakeawayView(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        description=row.description,
        instructions=row.instructions,
        schema=row.schema,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


async def _get(session: AsyncSession, project_id: ProjectId, takeaway_id: str) -> TakeawayRow:
    statement = select(TakeawayRow).where(TakeawayRow.id == takeaway_id, owned(TakeawayRow.project_id, project_id))
    row = await session.scalar(statement)
    if row is None:
        raise NotFound
    return row


def _check(schema: dict[str, Any]) -> None:
    faults = list(object_faults(schema, "schema"))
    if faults:
        raise Invalid(faults=faults)


TAKEAWAYS: Final = Slice(
    name="takeaways",
    routes=(create_takeaway, list_takeaways, get_takeaway, change_takeaway, delete_takeaway),
)
