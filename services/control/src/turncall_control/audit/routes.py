"""/v1/audit: who changed or listened to what in a project; /v1/platform/audit: what the operator did."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter
from msgspec import convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.audit import repository
from turncall_control.audit.repository import EntriesWanted
from turncall_control.audit.schemas import EntryView
from turncall_control.auth import IN_PLATFORM, IN_PROJECT, Caller, Permission, needs
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane, Slice
from turncall_control.trail import Effect, EntryRow
from turncall_runtime import logs

SWEEP_EVERY_S: Final = 600.0

log = logs.logger(__name__)


def entries_wanted(
    actor: Annotated[
        str | None,
        QueryParameter(max_length=120, pattern=r"^\w+$(?!\n)", description="The id of a key, `platform` or `link`."),
    ] = None,
    operation: Annotated[
        str | None, QueryParameter(max_length=120, pattern=r"^\w+$(?!\n)", description="Such as `publish_agent`.")
    ] = None,
    object_id: Annotated[
        str | None, QueryParameter(max_length=240, pattern=r"^[\w/.-]+$(?!\n)", description="What it was done to.")
    ] = None,
    effect: Annotated[Effect | None, QueryParameter(description="What came of it.")] = None,
    created_from: Annotated[datetime | None, QueryParameter(description="Entries of this moment or later.")] = None,
    created_until: Annotated[datetime | None, QueryParameter(description="Entries before this moment.")] = None,
) -> EntriesWanted:
    """The filters of both logs."""
    return EntriesWanted(
        actor=actor,
        operation=operation,
        object_id=object_id,
        effect=effect,
        created_from=created_from,
        created_until=created_until,
    )


_FILTERS: Final = {"wanted": Provide(entries_wanted, sync_to_thread=False)}


@get("/v1/audit", tags=["audit"], opt=needs(Permission.AUDIT_READ, IN_PROJECT), dependencies=_FILTERS)
async def list_audit_entries(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    wanted: NamedDependency[EntriesWanted],
) -> Page[EntryView]:
    """Every change in the project and every listen to its calls, newest first, by keys and by the operator."""
    rows = await repository.page(session, caller.project_id, wanted, page)
    return paged(rows, page, _view, lambda row: (row.id,))


@get("/v1/platform/audit", tags=["audit"], opt=needs(Permission.PLATFORM, IN_PLATFORM), dependencies=_FILTERS)
async def list_platform_audit_entries(
    plane: NamedDependency[Plane], page: NamedDependency[PageAsked], wanted: NamedDependency[EntriesWanted]
) -> Page[EntryView]:
    """Everything that was done with the platform key, newest first."""
    async with plane.database.system() as session:
        rows = await repository.platform_page(session, wanted, page)
    return paged(rows, page, _view, lambda row: (row.id,))


def _view(row: EntryRow) -> EntryView:
    return convert(row, EntryView, from_attributes=True)


@asynccontextmanager
async def forget_old_entries(plane: Plane) -> AsyncIterator[None]:
    """Every ten minutes, what is older than the installation keeps it is deleted; replicas do not mind each other."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await repository.sweep(plane.database.pool, plane.config.audit_keep_days)
            except Exception as error:
                log.error("audit.sweep_failed", exc_info=error)

    task = asyncio.create_task(sweep(), name="forget_old_entries")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


AUDIT: Final = Slice(
    name="audit", routes=(list_audit_entries, list_platform_audit_entries), tasks=(forget_old_entries,)
)
