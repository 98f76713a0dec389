"""How calls over WhatsApp end, and what WhatsApp says of those on their way: each statement taken in once."""

from typing import Final

from turncall_control.calls import admission, callbacks, exchange, ledger, lookup
from turncall_control.calls.callbacks import Callback
from turncall_control.calls.exchange import WorkerGone
from turncall_control.calls.lookup import Unrouted
from turncall_control.calls.ringing import Ringing
from turncall_control.plane import Plane
from turncall_control.whatsapp.told import CallTold, ringing_of
from turncall_proto import ids
from turncall_proto.call import CallState
from turncall_proto.ids import CallId
from turncall_proto.webrtc import SoundOver
from turncall_runtime import logs

_REFUSED: Final = {CallState.BUSY: "busy", CallState.NO_ANSWER: "no-answer"}

log = logs.logger(__name__)


async def take(plane: Plane, told: CallTold) -> CallId | None:
    """Takes a statement in, however often and in whatever order it comes; whose call is over, if one is.

    A call whose end comes before its beginning gets its row here, and is not taken later. Raises what the database
    raises: WhatsApp is to say it again.
    """
    ringing = ringing_of(told)
    status = await _outcome(plane, told, ringing.call_id)
    is_news = await _note(plane, ringing, status, told.duration_s)
    if not is_news and not await lookup.has_row(plane.database.pool, ringing.call_id):
        try:
            await admission.note_missed(plane, ringing, await lookup.find(plane, ringing))
        except Unrouted as reason:
            log.warning("call.unrouted", provider_call_id=ringing.provider_call_id, reason=str(reason))
            return None
        is_news = await _note(plane, ringing, status, told.duration_s)
    return ringing.call_id if is_news else None


async def _outcome(plane: Plane, told: CallTold, call_id: CallId) -> str:
    """What a call is to be called that nobody picked up: what was meant by whoever ended it here, if anybody did."""
    if told.status != "no-answer":
        return told.status
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            "select payload ->> 'state' from call_events where call_id = %s and type = 'end.intended' limit 1",
            (ids.parsed(ids.CALL, call_id),),
        )
        intended = await cursor.fetchone()
    return told.status if intended is None else _REFUSED.get(intended[0], "canceled")


async def note(plane: Plane, ringing: Ringing, status: str) -> None:
    """States how a call was ended that was not taken, which WhatsApp does not distinguish."""
    await _note(plane, ringing, status, None)


async def _note(plane: Plane, ringing: Ringing, status: str, duration_s: int | None) -> bool:
    return await callbacks.take(
        plane,
        Callback(
            provider=ringing.provider,
            proof=ringing.proof,
            provider_call_id=ringing.provider_call_id,
            our_number=ringing.to_number,
            status=status,
            sequence_number=None,
            duration_s=duration_s,
            sip_code=None,
        ),
    )


async def tell_worker(plane: Plane, call_id: CallId) -> None:
    """Tells the worker that has a call's sound that the call is over; one that is gone needs not be told."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        holder = await exchange.holder(connection, call) if call is not None else None
    if holder is None or holder.worker is None:
        return
    over = SoundOver(call_id=call_id, epoch=holder.epoch, deadline=exchange.deadline())
    try:
        await exchange.ask(plane, holder.worker, over)
    except WorkerGone as error:
        log.info("call.worker_not_told", call_id=call_id, worker=holder.worker, error=str(error))
