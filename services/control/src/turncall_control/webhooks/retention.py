"""How long the log of deliveries is kept."""

from typing import Final

from turncall_control.db.engine import Pool

SWEEP_EVERY_S: Final = 3600.0
DELETED_AT_ONCE: Final = 5000


async def swept(pool: Pool, keep_days: int) -> None:
    """Deletes what is older, a few at a time. Replicas may sweep at once."""
    deleted = DELETED_AT_ONCE
    while deleted == DELETED_AT_ONCE:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "delete from webhook_deliveries where id in (select id from webhook_deliveries"
                " where created_at < now() - make_interval(days => %s) limit %s for update skip locked)",
                (keep_days, DELETED_AT_ONCE),
            )
            deleted = cursor.rowcount
