"""What became of calls that were asked for: the answer was lost, or nobody said how they ended."""

import asyncio
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct
from psycopg.rows import class_row

from turncall_control.calls import hangups, identity, inquiry, ledger, news
from turncall_control.calls.ledger import Connection, Ledger
from turncall_control.carriers.base import CarrierError, Dialled
from turncall_control.dials import queue
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import CallId
from turncall_runtime import logs

SWEEP_EVERY_S: Final = 1.0
LOOK_AGAIN_S: Final = 5.0
RING_GRACE_S: Final = 20.0
"""What the carrier has, beyond the ring timeout, to say how a call ended that nobody answered."""
GIVE_UP_AFTER_S: Final = 60.0
"""A call that the carrier does not list by then was never placed. It is not dialled again: a carrier may list late, and
a person who is called twice is worse than one who is not called."""
CLOCKS_APART_S: Final = 5.0
"""How far the carrier's clock may be behind ours, and how coarse its times are."""
AT_ONCE: Final = 20

log = logs.logger(__name__)


class _Open(Struct, frozen=True, kw_only=True):
    """A dial that is to be looked at. ``asked_s``: how long ago the carrier was asked for it; ``is_late``: it should
    have been answered or given up by now."""

    call_id: UUID
    asked_at: datetime
    asked_s: float
    is_late: bool
    from_number: str
    to_number: str

    @property
    def id(self) -> CallId:
        """The call's id as everybody writes it."""
        return CallId(ids.written(ids.CALL, self.call_id))


class Resolver:
    """Looks after what was asked for. Replicas may do this at once: each takes what nobody else has taken up."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def attend(self) -> None:
        """Lets go of dials whose calls are answered or over, and looks at every other one that is due for it."""
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            await connection.execute(
                "update dials d set state = 'over' from calls c where c.id = d.call_id and d.state = 'asked'"
                " and c.provider_call_id is not null and (c.answered_at is not null or c.over_at is not null)"
            )
            found = await _due(connection)
            calls = await ledger.lock(connection, [one.id for one in found]) if found else {}
        async with asyncio.TaskGroup() as group:
            for one in found:
                group.create_task(self._look(one, calls[one.id]))

    async def _look(self, found: _Open, call: Ledger) -> None:
        try:
            carrier = await self._plane.accounts.dialled(call.project_id, call.provider, call.account)
            if carrier is None:
                log.error("dial.helpless", call_id=call.call_id, provider=call.provider)
            elif call.provider_call_id is None:
                await self._search(carrier, found, call)
            else:
                await self._ask_after(carrier, found, call)
        except CarrierError as error:
            log.warning("dial.carrier_failed", call_id=call.call_id, error=str(error))

    async def _search(self, carrier: Dialled, found: _Open, call: Ledger) -> None:
        """Looks for the call among those that the carrier placed between its two numbers since it was asked."""
        since = found.asked_at - timedelta(seconds=CLOCKS_APART_S)
        listed = await carrier.placed_calls(found.from_number, found.to_number, since)
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            locked = (await ledger.lock(connection, [call.call_id]))[call.call_id]
            if locked.provider_call_id is not None:
                return
            ours = await identity.unclaimed(connection, locked, listed)
            if ours:
                # The oldest: nothing else was asked for between these numbers since.
                log.warning("dial.found", call_id=call.call_id, provider_call_id=ours[-1])
                await identity.learn(connection, locked, ours[-1], is_found=True)
                return
            if found.asked_s < GIVE_UP_AFTER_S:
                return
            log.error("dial.never_placed", call_id=call.call_id)
            detail = "the carrier's answer was lost, and it lists no such call"
            appended = await queue.fail(connection, locked, EndedReason.TELEPHONY_FAILED, detail)
        await news.publish(self._plane.bus, appended)

    async def _ask_after(self, carrier: Dialled, found: _Open, call: Ledger) -> None:
        """Asks how a call stands of which nobody told, and ends one that rings for too long."""
        if not await inquiry.is_live(self._plane, carrier, call) or not found.is_late:
            return
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            locked = (await ledger.lock(connection, [call.call_id]))[call.call_id]
            if locked.standing.answered_at is not None:
                return
            appended = await hangups.intend(
                connection, locked, EndedReason.CUSTOMER_DID_NOT_ANSWER, CallState.NO_ANSWER, due_in_s=0
            )
        await news.publish(self._plane.bus, appended)


async def _due(connection: Connection) -> list[_Open]:
    """Takes up some of the dials that are to be looked at; they are due again `LOOK_AGAIN_S` later."""
    async with connection.cursor(row_factory=class_row(_Open)) as cursor:
        await cursor.execute(
            "with due as (select call_id from dials where state = 'asked' and look_at <= now()"
            " order by look_at limit %(limit)s for update skip locked)"
            " update dials d set look_at = now() + %(again)s from due, calls c"
            " where d.call_id = due.call_id and c.id = d.call_id"
            " returning d.call_id, d.asked_at, extract(epoch from now() - d.asked_at)::float as asked_s,"
            " d.asked_at + make_interval(secs => d.ring_timeout_s + %(grace)s) < now() as is_late,"
            " c.from_number, c.to_number",
            {"limit": AT_ONCE, "again": timedelta(seconds=LOOK_AGAIN_S), "grace": RING_GRACE_S},
        )
        return await cursor.fetchall()
