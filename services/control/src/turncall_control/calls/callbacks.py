"""What carriers call back with: each statement taken in once, in whatever order they come."""

from datetime import UTC, datetime

from msgspec import Struct

from turncall_control.calls import ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.projector import record
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.events import CarrierReported


class Callback(Struct, frozen=True, kw_only=True):
    """A carrier's statement about a call. ``digest`` is a hash of all that it said; a repeat has the same."""

    provider: str
    account: str
    provider_call_id: str
    status: str
    sequence_number: int | None
    duration_s: int | None
    sip_code: int | None
    digest: bytes


async def take(plane: Plane, said: Callback) -> bool:
    """Stores the statement as a fact; False when it was known already or is about a call that is not ours.

    The call counts as answered from the first statement that implies it.
    """
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = await ledger.lock_carriers(connection, said.provider, said.account, said.provider_call_id)
        if call is None:
            return False
        cursor = await connection.execute(
            "insert into carrier_callbacks (call_id, project_id, digest) values (%s, %s, %s) on conflict do nothing",
            (ids.parsed(ids.CALL, call.call_id), ids.parsed(ids.PROJECT, call.project_id), said.digest),
        )
        if not cursor.rowcount:
            return False
        reported = CarrierReported(
            call_id=call.call_id,
            project_id=call.project_id,
            epoch=0,
            seq=UNNUMBERED,
            at=datetime.now(UTC),
            status=said.status,
            sequence_number=said.sequence_number,
            duration_s=said.duration_s,
            sip_code=said.sip_code,
        )
        appended = await record(connection, [own(reported)])
    await news.publish(plane.bus, appended)
    return True
