"""What is to be sent next, and what became of it. Any number of senders work on the one table.

A sender takes due rows with ``skip locked`` and moves their ``due_at`` to the end of its lease: if it dies, they are
due again. A row behind an unfinished one of the same target and call is never taken, whoever holds the first; it
follows the due time of the one before it, and is woken when that one is finished.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

Connection = AsyncConnection[TupleRow]

PER_TARGET: Final = 10
"""Rows of one target that are taken at once: a slow server holds up its own events only."""
KEPT_TRIES: Final = 20

_TAKE: Final[LiteralString] = """
    with recursive target as (
        (select target_id as id from webhook_deliveries where status = 'pending' order by target_id limit 1)
        union all
        select (select d.target_id from webhook_deliveries d
                where d.status = 'pending' and d.target_id > target.id order by d.target_id limit 1)
        from target where target.id is not null
    )
    select due.id from target cross join lateral (
        select d.id, d.due_at from webhook_deliveries d
        where d.target_id = target.id and d.status = 'pending' and d.due_at <= now()
        order by d.due_at limit %(per_target)s for update skip locked
    ) due
    where target.id <> all(%(busy)s::uuid[]) order by due.due_at limit %(limit)s
"""
_JUDGE: Final[LiteralString] = """
    update webhook_deliveries d
    set status = case when judged.is_dead then 'failed' else 'pending' end,
        failure = case when judged.is_dead then 'the subscription was disabled or deleted' end,
        due_at = judged.due_at
    from (
        select m.id,
            m.url is null and (w.id is null or not w.is_enabled and m.type <> 'webhook.test') as is_dead,
            before.due_at is null and (w.paused_until is null or w.paused_until <= now()) as is_free,
            case when before.due_at is not null then greatest(before.due_at, now() + interval '1 s')
                 when w.paused_until > now() then w.paused_until
                 else clock_timestamp() + make_interval(secs => %(lease_s)s) end as due_at
        from webhook_deliveries m
        left join webhooks w on w.id = m.webhook_id
        left join lateral (
            select e.due_at from webhook_deliveries e
            where e.status = 'pending' and e.target_id = m.target_id and e.call_id = m.call_id
                and e.call_seq < m.call_seq
            order by e.call_seq limit 1
        ) before on true
        where m.id = any(%(taken)s)
    ) judged
    where d.id = judged.id
    returning case when judged.is_free and not judged.is_dead then d.id end
"""
_READ: Final[LiteralString] = """
    select d.id, d.project_id, d.webhook_id, d.target_id, coalesce(d.url, w.url) as url, d.type, d.at, d.call_id,
        d.call_seq, coalesce(f.payload, d.data)::text as data, d.due_at, d.attempts, d.first_tried_at,
        w.secret, case when w.previous_until > now() then w.previous_secret end as previous_secret
    from webhook_deliveries d
    left join webhooks w on w.id = d.webhook_id
    left join call_events f on f.call_id = d.call_id and f.call_seq = d.call_seq
    where d.id = any(%s) and coalesce(d.url, w.url) is not null
"""
_FINISH: Final[LiteralString] = """
    update webhook_deliveries
    set status = %(status)s, due_at = coalesce(%(due_at)s, due_at), failure = %(failure)s, attempts = attempts + 1,
        first_tried_at = coalesce(first_tried_at, %(at)s),
        delivered_at = case when %(status)s = 'delivered' then now() end,
        tries = (case when jsonb_array_length(tries) >= %(kept)s then tries - 0 else tries end) || %(tried)s
    where id = %(id)s and status = 'pending' and due_at = %(lease)s
"""
_WAKE: Final[LiteralString] = """
    update webhook_deliveries set due_at = now() where due_at > now() and due_at <= %(lease)s and id = (
        select id from webhook_deliveries
        where status = 'pending' and target_id = %(target)s and call_id = %(call)s order by call_seq limit 1
    )
"""


class Taken(Struct, frozen=True, kw_only=True):
    """A delivery that this process has until ``due_at``. ``data`` is its JSON, None when the record is deleted."""

    id: UUID
    project_id: UUID
    webhook_id: UUID | None
    target_id: UUID
    url: str
    type: str
    at: datetime
    call_id: UUID | None
    call_seq: int | None
    data: str | None
    due_at: datetime
    attempts: int
    first_tried_at: datetime | None
    secret: bytes | None
    previous_secret: bytes | None


class Try(Struct, frozen=True, kw_only=True):
    """One attempt as the delivery log shows it; ``status`` and ``answer`` are those of the server, if it answered."""

    at: datetime
    duration_ms: int
    status: int | None = None
    answer: str = ""
    error: str = ""


async def take(connection: Connection, *, limit: int, busy: Collection[UUID], lease_s: float) -> list[Taken]:
    """Up to ``limit`` deliveries whose turn it is, of targets that are not ``busy``, leased for ``lease_s``.

    Two statements on purpose: what stands before a row is looked up after it was locked, or a row could be put behind
    one that was finished in between.
    """
    async with connection.transaction():
        values = {"busy": list(busy), "limit": limit, "per_target": PER_TARGET}
        taken = [row[0] for row in await (await connection.execute(_TAKE, values)).fetchall()]
        if not taken:
            return []
        judged = await connection.execute(_JUDGE, {"taken": taken, "lease_s": lease_s})
        free = [row[0] for row in await judged.fetchall() if row[0] is not None]
        async with connection.cursor(row_factory=class_row(Taken)) as cursor:
            await cursor.execute(_READ, (free,))
            return await cursor.fetchall()


async def finish(
    connection: Connection, taken: Taken, tried: Try, *, status: str, due_at: datetime | None, failure: str | None
) -> bool:
    """Notes an attempt; ``due_at`` is that of the next one. False when the lease ran out and somebody else has it."""
    values = {
        "id": taken.id,
        "lease": taken.due_at,
        "status": status,
        "due_at": due_at,
        "failure": failure,
        "at": tried.at,
        "tried": Jsonb([msgspec.to_builtins(tried)]),
        "kept": KEPT_TRIES,
    }
    return (await connection.execute(_FINISH, values)).rowcount == 1


async def wake_next(connection: Connection, taken: Taken) -> None:
    """Makes the next delivery of the same target and call due, once this one is finished and committed.

    One that waits was put off no further than to the end of this one's lease. One that is put off further was taken by
    another sender meanwhile, or its subscription is paused.
    """
    if taken.call_id is not None:
        values = {"lease": taken.due_at, "target": taken.target_id, "call": taken.call_id}
        await connection.execute(_WAKE, values)
