"""Reading and writing subscriptions and the log of deliveries, within a project."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import func, literal, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.db.base import owned
from turncall_control.errors import Invalid, NotFound
from turncall_control.http.paging import PageAsked, asked_for, newest_first, within
from turncall_control.projects.model import ProjectRow
from turncall_control.webhooks.model import DeliveryRow, DeliveryStatus, WebhookRow
from turncall_proto import ids
from turncall_proto.ids import CallId, DeliveryId, ProjectId, WebhookId

REDELIVERED_AT_ONCE: Final = 5000


class DeliveriesWanted(Struct, frozen=True, kw_only=True):
    """What the log is narrowed to; None for everything. ``created_until`` is not included."""

    webhook_id: WebhookId | None
    call_id: CallId | None
    type: str | None
    status: DeliveryStatus | None
    created_from: datetime | None
    created_until: datetime | None


async def count_alone(session: AsyncSession, project_id: ProjectId) -> int:
    """How many subscriptions the project has; nobody else adds one until this transaction ends."""
    await session.execute(select(ProjectRow.id).where(owned(ProjectRow.id, project_id)).with_for_update(key_share=True))
    counted = await session.scalar(select(func.count()).where(owned(WebhookRow.project_id, project_id)))
    return counted or 0


async def page(session: AsyncSession, project_id: ProjectId, asked: PageAsked) -> Sequence[WebhookRow]:
    """A page of the project's subscriptions."""
    statement = select(WebhookRow).where(owned(WebhookRow.project_id, project_id))
    return (await session.scalars(newest_first(statement, WebhookRow.id, ids.WEBHOOK, asked))).all()


async def get(session: AsyncSession, project_id: ProjectId, webhook_id: WebhookId) -> WebhookRow:
    """One subscription of the project. Raises `NotFound`."""
    statement = select(WebhookRow).where(WebhookRow.id == webhook_id, owned(WebhookRow.project_id, project_id))
    row = await session.scalar(statement)
    if row is None:
        raise NotFound
    return row


async def deliveries(
    session: AsyncSession, project_id: ProjectId, wanted: DeliveriesWanted, asked: PageAsked
) -> Sequence[DeliveryRow]:
    """A page of the log and one more, newest first. Raises `Invalid` for another list's cursor."""
    statement = select(DeliveryRow).where(owned(DeliveryRow.project_id, project_id))
    statement = statement.where(
        *asked_for(
            (DeliveryRow.webhook_id, wanted.webhook_id),
            (DeliveryRow.call_id, wanted.call_id),
            (DeliveryRow.type, wanted.type),
            (DeliveryRow.status, wanted.status),
        ),
        *within(DeliveryRow.created_at, wanted.created_from, wanted.created_until),
    )
    if wanted.webhook_id is not None:
        # The generated column that the index begins with.
        statement = statement.where(DeliveryRow.target_id == ids.parsed(ids.WEBHOOK, wanted.webhook_id))
    if asked.after is not None:
        moment, delivery_id = _key(asked.after)
        last = tuple_(literal(moment, DeliveryRow.created_at.type), literal(delivery_id, DeliveryRow.id.type))
        statement = statement.where(tuple_(DeliveryRow.created_at, DeliveryRow.id) < last)
    ordered = statement.order_by(DeliveryRow.created_at.desc(), DeliveryRow.id.desc())
    return (await session.scalars(ordered.limit(asked.limit + 1))).all()


def key_of(row: DeliveryRow) -> tuple[str, ...]:
    """Where a delivery stands in the log; its id is random."""
    return row.created_at.astimezone(UTC).isoformat(), row.id


def _key(after: tuple[str, ...]) -> tuple[datetime, str]:
    try:
        moment, delivery_id = after
        ids.parsed(ids.DELIVERY, delivery_id)
        return msgspec.convert(moment, datetime), delivery_id
    except (ValueError, msgspec.ValidationError) as error:
        raise Invalid.at("cursor", "It was not made by this list") from error


async def delivery(session: AsyncSession, project_id: ProjectId, delivery_id: DeliveryId) -> DeliveryRow:
    """One delivery of the project. Raises `NotFound`."""
    statement = select(DeliveryRow).where(DeliveryRow.id == delivery_id, owned(DeliveryRow.project_id, project_id))
    row = await session.scalar(statement)
    if row is None:
        raise NotFound
    return row


async def send_again(session: AsyncSession, project_id: ProjectId, delivery_id: DeliveryId) -> DeliveryRow:
    """Queues one delivery once more, under the same id, with all its attempts. Raises `NotFound`."""
    statement = (
        update(DeliveryRow)
        .where(DeliveryRow.id == delivery_id, owned(DeliveryRow.project_id, project_id))
        .values(_FRESH)
        .returning(DeliveryRow)
    )
    row = await session.scalar(statement)
    if row is None:
        raise NotFound
    return row


async def send_range_again(
    session: AsyncSession, row: WebhookRow, *, since: datetime, until: datetime, status: DeliveryStatus
) -> tuple[int, datetime | None]:
    """Queues deliveries of a subscription once more, the oldest `REDELIVERED_AT_ONCE` at most, in order within a call.

    Returns how many, and the moment from which there are more, None when there are none.
    """
    within = (
        select(DeliveryRow.id, DeliveryRow.created_at)
        .where(
            owned(DeliveryRow.project_id, row.project_id),
            DeliveryRow.target_id == ids.parsed(ids.WEBHOOK, row.id),
            DeliveryRow.status == status,
            DeliveryRow.created_at >= since,
            DeliveryRow.created_at < until,
        )
        .order_by(DeliveryRow.created_at)
        .limit(REDELIVERED_AT_ONCE + 1)
    )
    found = (await session.execute(within)).all()
    more_from = found[-1].created_at if len(found) > REDELIVERED_AT_ONCE else None
    # What was stored in one moment is sent again together: the next request begins with that moment. A batch of the
    # projector, which has one moment, is far smaller.
    chosen = [entry.id for entry in found if more_from is None or entry.created_at < more_from]
    await session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(chosen), owned(DeliveryRow.project_id, row.project_id))
        .values(_FRESH)
        .execution_options(synchronize_session=False)
    )
    return len(chosen), more_from


_FRESH: Final = {
    "status": DeliveryStatus.PENDING,
    "due_at": text("now()"),
    "attempts": 0,
    "first_tried_at": None,
    "delivered_at": None,
    "failure": None,
}
"""A delivery as if it had never been tried; its log of tries is kept."""
