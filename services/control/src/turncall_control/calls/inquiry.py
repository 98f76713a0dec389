"""Asking a carrier what has become of a call, and taking its answer for its word."""

from datetime import UTC, datetime

from turncall_control.calls import news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Ledger
from turncall_control.calls.projector import record
from turncall_control.calls.settlement import reap
from turncall_control.calls.state import CARRIER_ENDS
from turncall_control.carriers.base import CarrierCall, Gone, Line
from turncall_control.plane import Plane
from turncall_proto.events import CarrierReported


async def is_live(plane: Plane, carrier: Line, call: Ledger) -> bool:
    """Whether the carrier still has the call's line; if not, that is stored, in the carrier's words if it has any.

    A repeat may store the carrier's word once more, which changes nothing. Raises `CarrierError`.
    """
    if call.provider_call_id is None:
        raise LookupError(f"{call.call_id} was never known to a carrier")
    try:
        seen = await carrier.fetch_call(call.provider_call_id)
    except Gone:
        await forget(plane, call)
        return False
    if seen.status not in CARRIER_ENDS:
        return True
    async with plane.database.pool.connection() as connection, connection.transaction():
        appended = await record(connection, [own(_said(call, seen))])
    await news.publish(plane.bus, appended)
    return False


async def forget(plane: Plane, call: Ledger) -> None:
    """Concludes a call that its carrier does not know; of all words this one counts least."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        appended = await reap(connection, call.call_id)
    await news.publish(plane.bus, appended)


def _said(call: Ledger, seen: CarrierCall) -> CarrierReported:
    return CarrierReported(
        call_id=call.call_id,
        project_id=call.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=seen.ended_at or datetime.now(UTC),
        status=seen.status,
        duration_s=seen.duration_s,
    )
