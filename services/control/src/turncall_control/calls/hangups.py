"""Ending calls at the carrier: the intent is stored first, then the carrier is asked until the line is closed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from turncall_control.calls import inquiry, ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.projector import record
from turncall_control.carriers.base import CarrierError, Gone, Line, NotInProgress
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, HangUpAsked
from turncall_proto.events import EndIntended
from turncall_proto.ids import CallId
from turncall_runtime import logs

LOOK_AFTER_S: Final = 20.0
"""How long a call that is meant to end by itself (a closing sentence is spoken) has, before the carrier is asked."""
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)
"""Between the tries to end a call; after the last one a person is needed."""
AT_ONCE: Final = 20

log = logs.logger(__name__)


async def intend(
    connection: Connection, call: Ledger, reason: EndedReason, state: CallState, *, due_in_s: float, detail: str = ""
) -> Appended:
    """Stores that a locked call is to end, once; if it lives ``due_in_s`` later, the carrier is asked to end it.

    A call that is over or is being ended already stays as it is.
    """
    if call.standing.is_final or call.standing.end_intended:
        return Appended(ledgers={call.call_id: call}, facts={})
    await connection.execute(
        "update calls set hang_up_due = now() + %s where id = %s",
        (timedelta(seconds=due_in_s), ids.parsed(ids.CALL, call.call_id)),
    )
    intended = EndIntended(
        call_id=call.call_id,
        project_id=call.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=datetime.now(UTC),
        reason=reason,
        state=state,
        detail=detail,
    )
    return await record(connection, [own(intended)])


class HangUps:
    """Takes workers' requests to hang up, and sees to it that every intended end happens, also across restarts."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._asked = asyncio.Event()

    async def answer(self, data: bytes) -> bytes:
        """Serves the act ``hang_up``: the intent is stored when ``is_taken`` comes back. A repeat is answered alike."""
        asked = decode(data, HangUpAsked)
        if asked.deadline < datetime.now(UTC):
            return encode(ActReply(is_taken=False, detail="late"))
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            call = (await ledger.lock(connection, [asked.call_id])).get(asked.call_id)
            if call is None:
                return encode(ActReply(is_taken=False, detail="there is no such call"))
            if asked.epoch <= call.standing.left_epoch or asked.epoch < call.standing.epoch:
                log.warning("hang_up.refused", call_id=call.call_id, epoch=asked.epoch, of_call=call.standing.epoch)
                self._plane.counts.refused.labels("hang_up_of_left_epoch").inc()
                return encode(ActReply(is_taken=False, detail=f"the call has left epoch {asked.epoch}"))
            appended = await intend(connection, call, asked.reason, CallState.COMPLETED, due_in_s=0)
        self._asked.set()
        await news.publish(self._plane.bus, appended)
        return encode(ActReply(is_taken=True))

    async def wait(self, timeout_s: float) -> None:
        """Returns when an end was asked for on this replica, or after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._asked.wait()
        except TimeoutError:
            return
        finally:
            self._asked.clear()

    async def attend(self) -> None:
        """Asks the carriers to end every call that is due. Replicas may do this at once: each takes its own calls."""
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            due = await ledger.lock_due(connection, "hang_up_due <= now()", (), order_by="hang_up_due", limit=AT_ONCE)
            tries = await _schedule_next(connection, due)
        async with asyncio.TaskGroup() as group:
            for call in due:
                group.create_task(self._end(call, tries[call.call_id]))

    async def _end(self, call: Ledger, tries: int) -> None:
        try:
            carrier = await self._plane.accounts.line(call.project_id, call.provider, call.account)
            if call.provider_call_id is None:
                log.info("hang_up.not_placed_yet", call_id=call.call_id)
                return
            if carrier is None:
                log.error("hang_up.impossible", call_id=call.call_id, provider=call.provider)
                return
            await self._close(carrier, call, call.provider_call_id)
        except CarrierError as error:
            level = log.error if tries > len(PAUSES_S) else log.warning
            level("hang_up.failed", call_id=call.call_id, tries=tries, error=str(error))

    async def _close(self, carrier: Line, call: Ledger, provider_call_id: str) -> None:
        """Ends the call; when its line proves to be closed already, stores what the carrier says of it."""
        try:
            await carrier.end_call(provider_call_id)
        except NotInProgress:
            await inquiry.is_live(self._plane, carrier, call)
        except Gone:
            await inquiry.forget(self._plane, call)


async def _schedule_next(connection: Connection, due: list[Ledger]) -> dict[CallId, int]:
    """Sets when each call is looked at again, if nothing is heard of it; returns the number of this try, from 1."""
    cursor = await connection.execute(
        "update calls set hang_up_tries = hang_up_tries + 1, hang_up_due = now() + (%s::interval[])[hang_up_tries + 1]"
        " where id = any(%s) returning id, hang_up_tries",
        (
            [timedelta(seconds=pause_s) for pause_s in PAUSES_S],
            [ids.parsed(ids.CALL, call.call_id) for call in due],
        ),
    )
    return {CallId(ids.written(ids.CALL, call)): tries for call, tries in await cursor.fetchall()}
