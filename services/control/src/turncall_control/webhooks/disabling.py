"""When the platform stops sending to a subscription, and who hears of it."""

from datetime import datetime, timedelta
from typing import Final

from psycopg.types.json import Jsonb

from turncall_control.webhooks.model import DisabledReason
from turncall_control.webhooks.queue import Connection, Taken
from turncall_proto import ids

DISABLED: Final = "webhook.disabled"


async def disable(connection: Connection, taken: Taken, reason: DisabledReason) -> None:
    """Disables the delivery's subscription and queues `DISABLED` for the others; does nothing if it is disabled."""
    cursor = await connection.execute(
        "update webhooks set is_enabled = false, disabled_reason = %s, disabled_at = now()"
        " where id = %s and is_enabled returning url, disabled_at",
        (reason.value, taken.webhook_id),
    )
    row = await cursor.fetchone()
    if row is None or taken.webhook_id is None:
        return
    url, disabled_at = row
    data = {
        "project_id": ids.written(ids.PROJECT, taken.project_id),
        "webhook_id": ids.written(ids.WEBHOOK, taken.webhook_id),
        "url": url,
        "reason": reason.value,
        "disabled_at": disabled_at.isoformat(),
    }
    await connection.execute(
        "insert into webhook_deliveries (project_id, webhook_id, type, at, data)"
        " select project_id, id, %s, %s, %s from webhooks where project_id = %s and is_enabled"
        " and (event_types = '{}' or %s = any(event_types))",
        (DISABLED, disabled_at, Jsonb(data), taken.project_id, DISABLED),
    )


async def arrived(connection: Connection, taken: Taken) -> None:
    """Notes that the subscription's server takes what it is sent, once a second at most."""
    await connection.execute(
        "update webhooks set last_delivered_at = now()"
        " where id = %s and (last_delivered_at is null or last_delivered_at < now() - interval '1 s')",
        (taken.webhook_id,),
    )


async def has_arrived(connection: Connection, taken: Taken, *, since: datetime) -> bool:
    """Whether anything has arrived at the delivery's subscription since a moment, to within a second."""
    cursor = await connection.execute(
        "select exists (select from webhooks where id = %s and last_delivered_at >= %s)",
        (taken.webhook_id, since - timedelta(seconds=1)),
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def pause(connection: Connection, taken: Taken, until: datetime) -> None:
    """Sends nothing to the delivery's subscription before ``until``."""
    await connection.execute(
        "update webhooks set paused_until = greatest(paused_until, %s) where id = %s", (until, taken.webhook_id)
    )
