"""/v1/webhook-deliveries: the log of what was sent to subscriptions and to agents' own servers."""

from datetime import datetime
from typing import Annotated, Final

from litestar import get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter
from msgspec import convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.db.engine import in_project
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane
from turncall_control.webhooks import repository, service
from turncall_control.webhooks.model import DeliveryRow, DeliveryStatus
from turncall_control.webhooks.repository import DeliveriesWanted
from turncall_control.webhooks.schemas import DeliveryView, TryView
from turncall_proto import ids
from turncall_proto.ids import CallId, DeliveryId, WebhookId

_READ, _WRITE = Permission.WEBHOOKS_READ, Permission.WEBHOOKS_WRITE
_DELIVERY: Final = in_path("delivery_id", ids.DELIVERY)


def deliveries_wanted(
    webhook_id: Annotated[
        str | None, QueryParameter(pattern=r"^whk_[0-9a-f]{32}$(?!\n)", description="To this subscription.")
    ] = None,
    call_id: Annotated[
        str | None, QueryParameter(pattern=r"^call_[0-9a-f]{32}$(?!\n)", description="About this call.")
    ] = None,
    type: Annotated[str | None, QueryParameter(max_length=64, description="Of this event.")] = None,
    status: Annotated[DeliveryStatus | None, QueryParameter(description="What came of it.")] = None,
    created_from: Annotated[datetime | None, QueryParameter(description="Stored at this moment or later.")] = None,
    created_until: Annotated[datetime | None, QueryParameter(description="Stored before this moment.")] = None,
) -> DeliveriesWanted:
    """The filters of the log."""
    return DeliveriesWanted(
        webhook_id=None if webhook_id is None else WebhookId(webhook_id),
        call_id=None if call_id is None else CallId(call_id),
        type=type,
        status=status,
        created_from=created_from,
        created_until=created_until,
    )


@get(
    "/v1/webhook-deliveries",
    tags=["webhooks"],
    opt=needs(_READ, IN_PROJECT),
    dependencies={"wanted": Provide(deliveries_wanted, sync_to_thread=False)},
)
async def list_deliveries(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    wanted: NamedDependency[DeliveriesWanted],
) -> Page[DeliveryView]:
    """The log, newest first."""
    rows = await repository.deliveries(session, caller.project_id, wanted, page)
    return paged(rows, page, view, repository.key_of)


@get("/v1/webhook-deliveries/{delivery_id:str}", tags=["webhooks"], opt=needs(_READ, _DELIVERY))
async def get_delivery(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], delivery_id: FromPath[str]
) -> DeliveryView:
    """One delivery with its attempts."""
    return view(await repository.delivery(session, caller.project_id, DeliveryId(delivery_id)))


@post(
    "/v1/webhook-deliveries/{delivery_id:str}/redeliver",
    status_code=202,
    tags=["webhooks"],
    opt=needs(_WRITE, _DELIVERY, fails=[service.WebhookDisabled], idempotent=True),
)
async def redeliver_event(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], delivery_id: FromPath[str]
) -> DeliveryView:
    """Sends one event again, under its id, with all its attempts."""
    async with in_project(plane.database, caller.project_id) as session:
        found = await repository.delivery(session, caller.project_id, DeliveryId(delivery_id))
        if found.webhook_id is not None:
            await service.check_enabled(session, caller.project_id, found.webhook_id)
        row = await repository.send_again(session, caller.project_id, found.id)
        await session.refresh(row)
    return view(row)


def view(row: DeliveryRow) -> DeliveryView:
    """A delivery's row as users see it."""
    return DeliveryView(
        id=row.id,
        webhook_id=row.webhook_id,
        agent_id=row.agent_id,
        type=row.type,
        at=row.at,
        call_id=row.call_id,
        call_seq=row.call_seq,
        status=row.status,
        failure=row.failure,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        next_try_at=row.due_at if row.status is DeliveryStatus.PENDING else None,
        tries=convert(row.tries, tuple[TryView, ...]),
    )
