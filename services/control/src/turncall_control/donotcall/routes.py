"""/v1/do-not-call: numbers that the project's agents do not call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Final

from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Finds, Permission, in_path, needs
from turncall_control.donotcall import optout, repository
from turncall_control.donotcall.model import DoNotCallRow, ListedBy
from turncall_control.donotcall.schemas import DoNotCallView, Listing, NumbersListed
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane, Slice
from turncall_proto import ids
from turncall_proto.ids import DoNotCallId
from turncall_proto.subjects import CONTROL_QUEUE, act

_ENTRY: Final[Finds] = in_path("entry_id", ids.DO_NOT_CALL)
_READ, _WRITE = Permission.CALLS_READ, Permission.CALLS_WRITE


@put("/v1/do-not-call", tags=["calls"], opt=needs(_WRITE, IN_PROJECT))
async def add_do_not_call(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], data: JSONBody[NumbersListed]
) -> Listing:
    """Puts numbers on the list. Calls to them are refused from now on, and those that wait are blocked."""
    added = await repository.add(session, caller.project_id, data.numbers, ListedBy.API, data.note)
    return Listing(added=added, known=len(set(data.numbers)) - added)


@get("/v1/do-not-call", tags=["calls"], opt=needs(_READ, IN_PROJECT))
async def list_do_not_call(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    number: Annotated[
        str | None, QueryParameter(max_length=64, description="Exactly this one: whether it is on the list.")
    ] = None,
) -> Page[DoNotCallView]:
    """The numbers that are not called, newest first."""
    rows = await repository.page(session, caller.project_id, page, number)
    return paged(rows, page, _view, lambda row: (row.id,))


@get("/v1/do-not-call/{entry_id:str}", tags=["calls"], opt=needs(_READ, _ENTRY))
async def get_do_not_call(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], entry_id: FromPath[str]
) -> DoNotCallView:
    """One entry of the list."""
    return _view(await repository.get(session, caller.project_id, DoNotCallId(entry_id)))


@delete("/v1/do-not-call/{entry_id:str}", tags=["calls"], opt=needs(_WRITE, _ENTRY))
async def delete_do_not_call(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], entry_id: FromPath[str]
) -> None:
    """Takes a number off the list: it may be called again."""
    await session.delete(await repository.get(session, caller.project_id, DoNotCallId(entry_id)))


@asynccontextmanager
async def take_opt_outs(plane: Plane) -> AsyncIterator[None]:
    """Puts persons on the list who tell an agent so."""
    serving = await plane.bus.serve(act("opt_out"), partial(optout.answer, plane), queue=CONTROL_QUEUE)
    try:
        yield
    finally:
        await serving.close()


def _view(row: DoNotCallRow) -> DoNotCallView:
    return convert(row, DoNotCallView, from_attributes=True)


DO_NOT_CALL: Final = Slice(
    name="do-not-call",
    routes=(add_do_not_call, list_do_not_call, get_do_not_call, delete_do_not_call),
    tasks=(take_opt_outs,),
)
