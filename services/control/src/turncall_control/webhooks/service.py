"""The rules of subscriptions: where they may lead, what they may name, how many there are."""

from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository as agents
from turncall_control.db.engine import in_project
from turncall_control.errors import Conflict, Fault, Invalid, NotFound
from turncall_control.http.destinations import check_url
from turncall_control.plane import Plane
from turncall_control.webhooks import repository, signing
from turncall_control.webhooks.model import DeliveryRow, WebhookRow
from turncall_control.webhooks.schemas import SUBSCRIBABLE, WebhookChange, WebhookNew
from turncall_control.webhooks.sender import TEST
from turncall_proto import ids
from turncall_proto.ids import AgentId, DeliveryId, ProjectId, WebhookId

MOST: Final = 20


class TooManyWebhooks(Conflict):
    """The project has as many subscriptions as one may have."""

    name, title = "too-many-webhooks", f"A project has {MOST} webhooks at most"


class WebhookDisabled(Conflict):
    """Nothing is sent to a disabled subscription."""

    name, title = "webhook-disabled", "The webhook is disabled"


async def create(plane: Plane, project_id: ProjectId, asked: WebhookNew) -> tuple[WebhookRow, str]:
    """A new subscription and its secret. Raises `Invalid` and `TooManyWebhooks`."""
    await check_url(plane, asked.url)
    check_types(asked.event_types)
    webhook_id = WebhookId(ids.mint(ids.WEBHOOK))
    secret, box = await signing.made(plane, project_id, webhook_id)
    async with in_project(plane.database, project_id) as session:
        if await repository.count_alone(session, project_id) >= MOST:
            raise TooManyWebhooks
        await _check_agent(session, project_id, asked.agent_id)
        row = WebhookRow(
            id=webhook_id,
            project_id=project_id,
            url=asked.url,
            description=asked.description,
            event_types=list(asked.event_types),
            agent_id=asked.agent_id,
            is_enabled=asked.is_enabled,
            secret=box,
        )
        session.add(row)
        await session.flush()
        await session.refresh(row)
    return row, secret


async def change(plane: Plane, project_id: ProjectId, webhook_id: WebhookId, asked: WebhookChange) -> WebhookRow:
    """Changes what is given. Enabling forgets why it was disabled. Raises `NotFound` and `Invalid`."""
    if asked.url is not UNSET:
        await check_url(plane, asked.url)
    if asked.event_types is not UNSET:
        check_types(asked.event_types)
    async with in_project(plane.database, project_id) as session:
        row = await repository.get(session, project_id, webhook_id)
        if asked.agent_id is not UNSET:
            await _check_agent(session, project_id, asked.agent_id)
            row.agent_id = asked.agent_id
        if asked.url is not UNSET:
            row.url = asked.url
        if asked.event_types is not UNSET:
            row.event_types = list(asked.event_types)
        if asked.description is not UNSET:
            row.description = asked.description
        if asked.is_enabled is not UNSET:
            row.is_enabled, row.disabled_reason, row.disabled_at, row.paused_until = asked.is_enabled, None, None, None
    return row


async def rotate(plane: Plane, project_id: ProjectId, webhook_id: WebhookId) -> tuple[WebhookRow, str]:
    """Another secret; the one that it replaces signs beside it for `signing.OVERLAP`. Raises `NotFound`."""
    async with in_project(plane.database, project_id) as session:
        await repository.get(session, project_id, webhook_id)
    secret, box = await signing.made(plane, project_id, webhook_id)
    async with in_project(plane.database, project_id) as session:
        row = await repository.get(session, project_id, webhook_id)
        row.previous_secret, row.previous_until = row.secret, datetime.now(UTC) + signing.OVERLAP
        row.secret = box
    return row, secret


async def send_test(session: AsyncSession, project_id: ProjectId, webhook_id: WebhookId) -> DeliveryRow:
    """Queues a `TEST` event for one subscription, enabled or not; it is tried once. Raises `NotFound`."""
    webhook = await repository.get(session, project_id, webhook_id)
    row = DeliveryRow(
        id=DeliveryId(ids.mint(ids.DELIVERY)),
        project_id=project_id,
        webhook_id=webhook.id,
        type=TEST,
        at=datetime.now(UTC),
        data={"project_id": project_id, "webhook_id": webhook.id},
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row


async def check_enabled(session: AsyncSession, project_id: ProjectId, webhook_id: WebhookId) -> WebhookRow:
    """A subscription that can be sent to. Raises `NotFound` and `WebhookDisabled`."""
    row = await repository.get(session, project_id, webhook_id)
    if not row.is_enabled:
        raise WebhookDisabled("enable it first")
    return row


def check_types(event_types: tuple[str, ...]) -> None:
    """Raises `Invalid` for events that do not exist or are named twice."""
    faults = [
        Fault(field=f"event_types[{index}]", message=f"There is no such event; there are {', '.join(SUBSCRIBABLE)}")
        for index, name in enumerate(event_types)
        if name not in SUBSCRIBABLE
    ]
    if not faults and len(set(event_types)) != len(event_types):
        faults = [Fault(field="event_types", message="Each event is named once")]
    if faults:
        raise Invalid(faults=faults)


async def _check_agent(session: AsyncSession, project_id: ProjectId, agent_id: AgentId | None) -> None:
    if agent_id is None:
        return
    try:
        await agents.get(session, project_id, agent_id)
    except NotFound as error:
        raise Invalid.at("agent_id", "There is no such agent in this project") from error
