"""Calls that nobody looks after: the carrier is asked what has become of them, and they are brought to an end.

Each replica takes the calls that no other has locked; `LOOK_AGAIN_S` passes before a call is taken up again.
"""

import asyncio
from datetime import timedelta
from typing import Final, Literal

from msgspec import Struct

from turncall_control.calls import inquiry, ledger, redirects
from turncall_control.calls.ledger import Connection, Ledger
from turncall_control.carriers.base import CarrierError
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import CallId, WorkerId
from turncall_runtime import logs

REAP_EVERY_S: Final = 5.0
LOOK_AGAIN_S: Final = 15.0
"""How long a call that was looked at, and left alone, is left alone."""
ORPHAN_AFTER_S: Final = 10.0
"""A call whose worker is lost, and that has not gone on after this long, is asked about."""
UNOPENED_AFTER_S: Final = 60.0
"""A call that no worker ever opened is asked about this long after its number let it wait."""
OVERTIME_S: Final = 30.0
"""What a worker has, beyond the agent's longest duration, to end the call itself."""
FORWARDED_FOR_S: Final = 4 * 3600.0
"""How long a caller may talk to the person at a number's fallback phone."""
AT_ONCE: Final = 20

Cause = Literal["overtime", "unopened", "orphaned"]

log = logs.logger(__name__)


class Neglected(Struct, frozen=True, kw_only=True):
    """A live call that may have nobody. ``worker`` holds its latest epoch, None while it waits for one."""

    call_id: CallId
    cause: Cause
    worker: WorkerId | None
    seconds: float


class Reaper:
    """Ends what nobody else will end."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def attend(self) -> None:
        """Looks after up to `AT_ONCE` neglected calls."""
        heard = self._plane.workers.heard_lately()
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            found = await _neglected(connection, heard)
            calls = await ledger.lock(connection, [one.call_id for one in found])
        async with asyncio.TaskGroup() as group:
            for one in found:
                group.create_task(self._look_after(one, calls[one.call_id]))

    async def _look_after(self, found: Neglected, call: Ledger) -> None:
        if found.cause == "overtime":
            log.error("call.overtime", call_id=call.call_id, seconds=round(found.seconds))
            self._plane.counts.reaped.labels(found.cause).inc()
            await redirects.give_up(self._plane, call, EndedReason.MAX_DURATION_REACHED, CallState.COMPLETED)
            return
        try:
            carrier = await self._plane.accounts.line(call.project_id, call.provider, call.account)
            if carrier is None or call.provider_call_id is None:
                log.error("reaper.helpless", call_id=call.call_id, provider=call.provider)
                return
            if not await inquiry.is_live(self._plane, carrier, call):
                log.warning("call.reaped", call_id=call.call_id, cause=found.cause)
                self._plane.counts.reaped.labels(found.cause).inc()
                return
        except CarrierError as error:
            log.warning("reaper.carrier_failed", call_id=call.call_id, error=str(error))
            return
        await self._end_silence(found, call)

    async def _end_silence(self, found: Neglected, call: Ledger) -> None:
        """Ends a call whose line is open and which has had nobody for a minute; a judge that is unsure ends nothing."""
        workers = self._plane.workers
        if found.seconds < UNOPENED_AFTER_S or not workers.may_judge or workers.fell_silent_together:
            return
        if found.worker is not None and found.worker in workers.heard_lately():
            return
        self._plane.counts.reaped.labels(found.cause).inc()
        reason = EndedReason.NO_CAPACITY if call.standing.epoch == 0 else EndedReason.WORKER_LOST
        await redirects.give_up(self._plane, call, reason, CallState.FAILED)


async def _neglected(connection: Connection, heard: list[WorkerId]) -> list[Neglected]:
    """Takes up live calls that ran over their time, that nobody ever opened, or whose worker is not heard."""
    async with connection.cursor() as cursor:
        await cursor.execute(
            "with live as ("
            " select c.id, c.created_at, c.answered_at, e.worker,"
            "  exists (select from epochs o where o.call_id = c.id and o.opened_at is not null) as was_opened,"
            "  coalesce(e.asked_at, e.lost_at, e.opened_at, b.began_at) as alone_since,"
            "  b.began_at + %(overtime)s"
            "   + make_interval(secs => coalesce((coalesce(c.inline_agent, v.config)->>'max_duration_s')::float, 3600)"
            "   + case when c.forwarded_because is null then 0 else %(forwarded)s end) as ends_at,"
            "  c.forwarded_because is not null as is_forwarded,"
            "  b.began_at + coalesce((n.settings->'busy'->>'wait_s')::float, 0) * interval '1 s' as placed_by,"
            "  b.began_at"
            " from calls c cross join lateral (select coalesce(c.answered_at, c.created_at) as began_at) b"
            " left join agent_versions v on v.id = c.version_id"
            " left join numbers n on n.id = c.number_id"
            " left join epochs e on e.call_id = c.id and e.epoch = c.epoch"
            # A call of ours begins with its answer: until then whoever dials it looks after it.
            " where c.over_at is null and not c.end_intended and (c.direction = 'inbound' or c.answered_at is not null)"
            "  and (c.looked_at is null or c.looked_at < now() - %(again)s)),"
            " found as ("
            " select id, worker, case when ends_at < now() then 'overtime' when not was_opened then 'unopened'"
            "  else 'orphaned' end as cause, extract(epoch from now() - case when ends_at < now()"
            "  then began_at else alone_since end)::float as seconds"
            " from live where ends_at < now()"
            "  or (not is_forwarded and not was_opened and placed_by < now() - %(unopened)s)"
            "  or (not is_forwarded and was_opened and worker <> all(%(heard)s) and alone_since < now() - %(orphan)s)),"
            # Asked of the locked row once more: another replica may have taken it up since our snapshot.
            " taken as (select c.id from calls c join found on found.id = c.id where c.over_at is null"
            "  and (c.looked_at is null or c.looked_at < now() - %(again)s)"
            "  order by c.id limit %(limit)s for no key update of c skip locked)"
            " update calls c set looked_at = now() from taken join found on found.id = taken.id where c.id = taken.id"
            " returning c.id, found.cause, found.worker, found.seconds",
            {
                "overtime": timedelta(seconds=OVERTIME_S),
                "again": timedelta(seconds=LOOK_AGAIN_S),
                "unopened": timedelta(seconds=UNOPENED_AFTER_S),
                "orphan": timedelta(seconds=ORPHAN_AFTER_S),
                "forwarded": FORWARDED_FOR_S,
                "heard": heard,
                "limit": AT_ONCE,
            },
        )
        rows = await cursor.fetchall()
    return [
        Neglected(call_id=CallId(ids.written(ids.CALL, call)), cause=cause, worker=worker, seconds=seconds)
        for call, cause, worker, seconds in rows
    ]
