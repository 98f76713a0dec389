"""How calls over WhatsApp end, and what WhatsApp says of those on their way: each statement taken in once."""

from typing import Final

from turncall_control.calls import admission, callbacks, ledger, lookup
from turncall_control.calls.callbacks import Callback
from turncall_control.calls.lookup import Unrouted
from turncall_control.calls.ringing import Ringing
from turncall_control.calls.state import CARRIER_ENDS
from turncall_control.carriers import whatsapp
from turncall_control.plane import Plane
from turncall_control.whatsapp.told import CallTold, ringing_of
from turncall_proto import ids
from turncall_proto.call import CallState
from turncall_proto.ids import CallId
from turncall_runtime import logs

_REFUSED: Final = {CallState.BUSY: "busy", CallState.NO_ANSWER: "no-answer"}

log = logs.logger(__name__)


async def take(plane: Plane, told: CallTold) -> CallId | None:
    """Takes a statement in, however often and in whatever order it comes; whose call is over, if one is.

    A person's call whose end comes before its beginning gets its row here, and is not taken later. Raises what the
    database raises: WhatsApp is to say it again.
    """
    if told.is_ours:
        return await _take_ours(plane, told)
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


async def _take_ours(plane: Plane, told: CallTold) -> CallId | None:
    """The same of a call that we placed, which is known by our own id or by WhatsApp's."""
    call_id = await ours(plane, told)
    if call_id is None:
        return None
    said = Callback(
        call_id=call_id,
        provider=whatsapp.PROVIDER,
        proof=told.proof,
        provider_call_id=told.provider_call_id,
        our_number=told.number,
        status=await _outcome(plane, told, call_id),
        sequence_number=None,
        duration_s=told.duration_s,
        sip_code=told.sip_code,
    )
    is_news = await callbacks.take(plane, said)
    return call_id if is_news and told.status in CARRIER_ENDS else None


async def ours(plane: Plane, told: CallTold) -> CallId | None:
    """The call of ours that a statement is about; None when it is none."""
    if told.reference.startswith(f"{ids.CALL}_"):
        try:
            ids.parsed(ids.CALL, told.reference)
        except ids.MalformedId:
            return None
        return CallId(told.reference)
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = await ledger.lock_carriers(connection, whatsapp.PROVIDER, told.proof.account, told.provider_call_id)
    return None if call is None else call.call_id


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
