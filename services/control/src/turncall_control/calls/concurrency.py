"""How many calls a project, an agent and a number may have at a time: counted in Redis, kept true from Postgres.

A call that was let in is marked on its row (``is_counted``) and stands in three sorted sets of its project's, one for
each thing that may be limited, with the moment at which its lease ends. Live calls get new leases from their rows every
`RENEW_EVERY_S`; calls that are over are taken out within `RELEASE_EVERY_S`, whatever ended them. So a call that Redis
forgot, or that it was never told of, is counted again, and one whose end it was not told of is let go.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from turncall_control.calls.ledger import Connection
from turncall_control.db.engine import Pool
from turncall_control.errors import ControlError
from turncall_proto import ids
from turncall_proto.ids import CallId
from turncall_runtime import logs

LEASE_S: Final = 60.0
"""How long a call counts without a renewal."""
RENEW_EVERY_S: Final = 10.0
RELEASE_EVERY_S: Final = 1.0
RELEASE_AT_ONCE: Final = 500
RETRY_AFTER_S: Final = 5
RENEW_PAGE: Final = 2_000

Scope = Literal["number", "agent", "project"]
Limits = Mapping[Scope, int | None]
"""How many calls each may have at a time; None for no limit."""

_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local limit = tonumber(ARGV[2 + i])
    if limit >= 0 and not redis.call('ZSCORE', key, ARGV[1]) and redis.call('ZCARD', key) >= limit then
        return i
    end
end
for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + ARGV[2], ARGV[1])
    redis.call('PEXPIRE', key, ARGV[2])
end
return 0
"""
"""KEYS: one set for each scope. ARGV: the call, the lease in ms, the limit of each scope (-1 for none).

Returns the position of the first limit that is reached, or 0 once the call counts in all of them.
"""

log = logs.logger(__name__)


class TooManyCalls(ControlError):
    """As many calls as allowed are under way; one may end at any moment."""

    status, name, title = 429, "too-many-calls", "Too many calls at a time"

    def __init__(self, reached: "Reached") -> None:
        super().__init__(str(reached), headers={"Retry-After": str(RETRY_AFTER_S)})


class Reached(Struct, frozen=True, kw_only=True):
    """A limit that leaves no room for a call."""

    scope: Scope
    limit: int

    def __str__(self) -> str:
        return f"the {self.scope} allows {self.limit} calls at a time"


class Counted(Struct, frozen=True, kw_only=True):
    """A call and what it counts for, as rows name them."""

    call: UUID
    project: UUID
    agent: UUID | None
    number: UUID | None

    def sets(self) -> dict[Scope, str]:
        """The sets it stands in, by scope; all of a project's lie on one node of a cluster."""
        of_project = f"tc:{{{ids.written(ids.PROJECT, self.project)}}}:calls"
        keys: dict[Scope, str] = {} if self.number is None else {"number": f"{of_project}:number:{self.number.hex}"}
        if self.agent is not None:
            keys["agent"] = f"{of_project}:agent:{self.agent.hex}"
        return {**keys, "project": of_project}


async def take(connection: Connection, redis: Redis, call_id: CallId) -> Reached | None:
    """Counts a call whose row is locked; the limit that is reached otherwise, and then nothing is counted.

    A repeat counts once. While Redis is away calls are counted in Postgres, where calls that are let in at the same
    moment do not see each other.
    """
    counted, limits = await _limits(connection, call_id)
    reached = await count(connection, redis, counted, limits)
    if reached is None:
        await connection.execute("update calls set is_counted = true where id = %s", (counted.call,))
    return reached


async def count(connection: Connection, redis: Redis, counted: Counted, limits: Limits) -> Reached | None:
    """`take` for a call whose row is still to be made, as one that counts."""
    if all(limits[scope] is None for scope in counted.sets()):
        return None
    try:
        reached = await _taken(redis, counted, limits)
        if reached is not None and await _ended_left(connection, redis, counted.sets()[reached.scope]):
            reached = await _taken(redis, counted, limits)
    except RedisError as error:
        call_id = ids.written(ids.CALL, counted.call)
        log.warning("concurrency.counted_in_postgres", call_id=call_id, error=type(error).__name__)
        reached = await _counted_in_postgres(connection, counted, limits)
    return reached


async def require(connection: Connection, redis: Redis, call_id: CallId) -> None:
    """`take` for a call that somebody asked us to make. Raises `TooManyCalls`, with which the row should vanish."""
    reached = await take(connection, redis, call_id)
    if reached is not None:
        raise TooManyCalls(reached)


async def release(pool: Pool, redis: Redis) -> None:
    """Lets go of every call that is over. Replicas may do this at once: each takes the calls that nobody has locked.

    While Redis is away their marks stay, which changes no count in Postgres; the next round finds them.
    """
    with suppress(RedisError):
        while True:
            async with pool.connection() as connection, connection.transaction():
                if await _release(connection, redis) < RELEASE_AT_ONCE:
                    return


async def renew(pool: Pool, redis: Redis) -> None:
    """Gives all live calls that count a new lease; one replica in every `RENEW_EVERY_S` does it for all."""
    with suppress(RedisError):
        if await redis.set("tc:calls:renewed", 1, nx=True, px=int(RENEW_EVERY_S * 900)):
            await _renew(pool, redis)


async def _renew(pool: Pool, redis: Redis) -> None:
    after = UUID(int=0)
    while True:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "select id, project_id, agent_id, number_id from calls"
                " where is_counted and over_at is null and id > %s order by id limit %s",
                (after, RENEW_PAGE),
            )
            live = [_counted(row) for row in await cursor.fetchall()]
        if live:
            await _lease(redis, live)
            after = live[-1].call
        if len(live) < RENEW_PAGE:
            return


async def _limits(connection: Connection, call_id: CallId) -> tuple[Counted, Limits]:
    cursor = await connection.execute(
        "select c.id, c.project_id, c.agent_id, c.number_id, n.max_concurrent_calls, a.max_concurrent_calls,"
        " (p.settings->'limits'->>'concurrent_calls')::int"
        " from calls c join projects p on p.id = c.project_id left join agents a on a.id = c.agent_id"
        " left join numbers n on n.id = c.number_id where c.id = %s",
        (ids.parsed(ids.CALL, call_id),),
    )
    row = await cursor.fetchone()
    assert row is not None  # its row is locked
    return _counted(row[:4]), {"number": row[4], "agent": row[5], "project": row[6]}


def _counted(row: Sequence[UUID | None]) -> Counted:
    call, project, agent, number = row
    assert call is not None
    assert project is not None
    return Counted(call=call, project=project, agent=agent, number=number)


async def _taken(redis: Redis, counted: Counted, limits: Limits) -> Reached | None:
    sets = counted.sets()
    asked = [-1 if (limit := limits[scope]) is None else limit for scope in sets]
    position = await redis.eval(
        _TAKE, len(sets), *sets.values(), counted.call.hex, str(int(LEASE_S * 1000)), *map(str, asked)
    )
    return Reached(scope=list(sets)[position - 1], limit=asked[position - 1]) if position else None


async def _counted_in_postgres(connection: Connection, counted: Counted, limits: Limits) -> Reached | None:
    cursor = await connection.execute(
        "select count(*) filter (where number_id = %(number)s), count(*) filter (where agent_id = %(agent)s), count(*)"
        " from calls where project_id = %(project)s and is_counted and over_at is null and id <> %(call)s",
        {"number": counted.number, "agent": counted.agent, "project": counted.project, "call": counted.call},
    )
    number, agent, project = await cursor.fetchone() or (0, 0, 0)
    live: dict[Scope, int] = {"number": number, "agent": agent, "project": project}
    for scope in counted.sets():
        limit = limits[scope]
        if limit is not None and live[scope] >= limit:
            return Reached(scope=scope, limit=limit)
    return None


async def _ended_left(connection: Connection, redis: Redis, key: str) -> bool:
    """Whether calls that are over stood in a set that has no room; they are taken out."""
    standing: list[bytes] = await redis.zrange(key, 0, -1)  # type: ignore[assignment]  # without scores, undecoded
    members = [UUID(call.decode()) for call in standing]
    cursor = await connection.execute(
        "select id, project_id, agent_id, number_id from calls where id = any(%s) and over_at is not null", (members,)
    )
    over = [_counted(row) for row in await cursor.fetchall()]
    await _leave(redis, over)
    return bool(over)


async def _release(connection: Connection, redis: Redis) -> int:
    """Lets go of some calls that are over; how many."""
    cursor = await connection.execute(
        "with over as (select id from calls where is_counted and over_at is not null"
        " limit %s for no key update skip locked)"
        " update calls c set is_counted = false from over where c.id = over.id"
        " returning c.id, c.project_id, c.agent_id, c.number_id",
        (RELEASE_AT_ONCE,),
    )
    over = [_counted(row) for row in await cursor.fetchall()]
    await _leave(redis, over)
    return len(over)


async def _leave(redis: Redis, over: Sequence[Counted]) -> None:
    if not over:
        return
    sets: dict[str, list[str]] = {}
    for counted in over:
        for key in counted.sets().values():
            sets.setdefault(key, []).append(counted.call.hex)
    async with redis.pipeline(transaction=False) as pipe:
        for key, calls in sets.items():
            pipe.zrem(key, *calls)
        await pipe.execute()


async def _lease(redis: Redis, live: Sequence[Counted]) -> None:
    seconds, micros = await redis.time()
    lease = timedelta(seconds=LEASE_S)
    ends_ms = seconds * 1000 + micros // 1000 + int(LEASE_S * 1000)
    sets: dict[str, dict[str, int]] = {}
    for counted in live:
        for key in counted.sets().values():
            sets.setdefault(key, {})[counted.call.hex] = ends_ms
    async with redis.pipeline(transaction=False) as pipe:
        for key, leases in sets.items():
            pipe.zadd(key, leases)
            pipe.pexpire(key, lease)
        await pipe.execute()
