"""/v1/webhooks: who is told of the project's events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.db.engine import in_project
from turncall_control.duty import repeated
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane, Slice
from turncall_control.webhooks import repository, service
from turncall_control.webhooks.delivery_routes import get_delivery, list_deliveries, redeliver_event, view
from turncall_control.webhooks.model import DeliveryStatus, WebhookRow
from turncall_control.webhooks.retention import SWEEP_EVERY_S, swept
from turncall_control.webhooks.schemas import (
    DeliveryView,
    Redelivering,
    RedeliveryAsked,
    WebhookChange,
    WebhookMade,
    WebhookNew,
    WebhookView,
)
from turncall_control.webhooks.sender import LOOK_EVERY_S, Sender
from turncall_proto import ids
from turncall_proto.ids import WebhookId

_READ, _WRITE = Permission.WEBHOOKS_READ, Permission.WEBHOOKS_WRITE
_WEBHOOK: Final = in_path("webhook_id", ids.WEBHOOK)


@post("/v1/webhooks", tags=["webhooks"], opt=needs(_WRITE, IN_PROJECT, fails=[service.TooManyWebhooks]))
async def create_webhook(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: JSONBody[WebhookNew]
) -> WebhookMade:
    """Subscribes a URL to the project's events, from this moment on. The secret is shown this once."""
    row, secret = await service.create(plane, caller.project_id, data)
    return WebhookMade(webhook=_view(row), secret=secret)


@get("/v1/webhooks", tags=["webhooks"], opt=needs(_READ, IN_PROJECT))
async def list_webhooks(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], page: NamedDependency[PageAsked]
) -> Page[WebhookView]:
    """The project's subscriptions, newest first."""
    rows = await repository.page(session, caller.project_id, page)
    return paged(rows, page, _view, lambda row: (row.id,))


@get("/v1/webhooks/{webhook_id:str}", tags=["webhooks"], opt=needs(_READ, _WEBHOOK))
async def get_webhook(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], webhook_id: FromPath[str]
) -> WebhookView:
    """One subscription."""
    return _view(await repository.get(session, caller.project_id, WebhookId(webhook_id)))


@patch("/v1/webhooks/{webhook_id:str}", tags=["webhooks"], opt=needs(_WRITE, _WEBHOOK))
async def change_webhook(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    webhook_id: FromPath[str],
    data: JSONBody[WebhookChange],
) -> WebhookView:
    """Changes a subscription; what is still to be delivered goes to the new URL."""
    return _view(await service.change(plane, caller.project_id, WebhookId(webhook_id), data))


@delete("/v1/webhooks/{webhook_id:str}", tags=["webhooks"], opt=needs(_WRITE, _WEBHOOK))
async def delete_webhook(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], webhook_id: FromPath[str]
) -> None:
    """Ends a subscription; what is still to be delivered is given up."""
    async with in_project(plane.database, caller.project_id) as session:
        await session.delete(await repository.get(session, caller.project_id, WebhookId(webhook_id)))


@post("/v1/webhooks/{webhook_id:str}/rotate-secret", status_code=200, tags=["webhooks"], opt=needs(_WRITE, _WEBHOOK))
async def rotate_webhook_secret(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], webhook_id: FromPath[str]
) -> WebhookMade:
    """Gives the subscription another secret. For 24 hours requests carry the signatures of both."""
    row, secret = await service.rotate(plane, caller.project_id, WebhookId(webhook_id))
    return WebhookMade(webhook=_view(row), secret=secret)


@post(
    "/v1/webhooks/{webhook_id:str}/test",
    status_code=202,
    tags=["webhooks"],
    opt=needs(_WRITE, _WEBHOOK, idempotent=True),
)
async def send_test_event(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], webhook_id: FromPath[str]
) -> DeliveryView:
    """Sends `webhook.test` once, also to a disabled subscription; the log shows what came of it."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await service.send_test(session, caller.project_id, WebhookId(webhook_id))
    return view(row)


@post(
    "/v1/webhooks/{webhook_id:str}/redeliver",
    status_code=202,
    tags=["webhooks"],
    opt=needs(_WRITE, _WEBHOOK, fails=[service.WebhookDisabled], idempotent=True),
)
async def redeliver_events(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    webhook_id: FromPath[str],
    data: JSONBody[RedeliveryAsked],
) -> Redelivering:
    """Sends a period's events again, under their ids and in order within each call: the oldest 5,000 of them."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await service.check_enabled(session, caller.project_id, WebhookId(webhook_id))
        until = data.until or datetime.now(UTC)
        count, next_since = await repository.send_range_again(
            session, row, since=data.since, until=until, status=DeliveryStatus(data.status)
        )
    return Redelivering(count=count, next_since=next_since)


@asynccontextmanager
async def send_events(plane: Plane) -> AsyncIterator[None]:
    """Delivers what is due."""
    sender = Sender(plane)
    async with sender.sending(), repeated("webhooks", sender.attend, LOOK_EVERY_S, sender.wait):
        yield


@asynccontextmanager
async def forget_deliveries(plane: Plane) -> AsyncIterator[None]:
    """Keeps the log of deliveries for as long as the operator wants it."""
    async with repeated(
        "webhook_log", lambda: swept(plane.database.pool, plane.config.webhook_log_days), SWEEP_EVERY_S
    ):
        yield


def _view(row: WebhookRow) -> WebhookView:
    now = datetime.now(UTC)
    return WebhookView(
        id=row.id,
        url=row.url,
        event_types=tuple(row.event_types),
        agent_id=row.agent_id,
        description=row.description,
        is_enabled=row.is_enabled,
        disabled_reason=row.disabled_reason,
        disabled_at=row.disabled_at,
        paused_until=row.paused_until if row.paused_until and row.paused_until > now else None,
        last_delivered_at=row.last_delivered_at,
        previous_secret_until=row.previous_until if row.previous_until and row.previous_until > now else None,
        created_at=row.created_at,
    )


WEBHOOKS: Final = Slice(
    name="webhooks",
    routes=(
        create_webhook,
        list_webhooks,
        get_webhook,
        change_webhook,
        delete_webhook,
        rotate_webhook_secret,
        send_test_event,
        redeliver_events,
        list_deliveries,
        get_delivery,
        redeliver_event,
    ),
    tasks=(send_events, forget_deliveries),
)
