"""What carriers call back with: each statement taken in once, in whatever order they come.

Twilio repeats a callback within 15 s at most, and only one that was refused. So a statement that cannot be stored at
once, because Postgres is away or because the call has no row yet, waits in JetStream with the call's other facts.
"""

from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from turncall_control.calls import adoption, identity, ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Connection, Ledger
from turncall_control.calls.projector import record
from turncall_control.calls.ringing import is_proven
from turncall_control.carriers.accounts import Proof
from turncall_control.db import failures
from turncall_control.plane import Plane
from turncall_proto import ids, subjects
from turncall_proto.codec import encode
from turncall_proto.events import CarrierReported
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime import logs

_ON_THE_WAY_SEQ = 3
"""Satisfies the contract; the ledger numbers the fact when it comes back."""

log = logs.logger(__name__)


class Callback(Struct, frozen=True, kw_only=True):
    """A carrier's statement about a call; ``our_number`` is the number of ours that the call is about.

    ``call_id`` is our own id, where the carrier was given it with the call.
    """

    call_id: CallId | None = None
    provider: str
    proof: Proof
    provider_call_id: str
    our_number: str
    status: str
    sequence_number: int | None
    duration_s: int | None
    sip_code: int | None

    def fact(self, call_id: CallId, project_id: ProjectId) -> CarrierReported:
        """The statement as a fact of this call, not numbered yet."""
        return CarrierReported(
            call_id=call_id,
            project_id=project_id,
            epoch=0,
            seq=UNNUMBERED,
            at=datetime.now(UTC),
            status=self.status,
            sequence_number=self.sequence_number,
            duration_s=self.duration_s,
            sip_code=self.sip_code,
        )


async def take(plane: Plane, said: Callback) -> bool:
    """Takes the statement in, once; False when it was known already or is about a call that is not ours.

    The call counts as answered from the first statement that implies it. Raises what the database or the bus raised
    when the statement is neither stored nor on its way: the carrier is to say it again.
    """
    try:
        is_news = await _stored(plane, said)
    except failures.FAILURES as error:
        if failures.is_away(error) and await _sent_on_its_way(plane, said, even_alone=True):
            return True
        raise
    return await _sent_on_its_way(plane, said, even_alone=False) if is_news is None else is_news


async def _stored(plane: Plane, said: Callback) -> bool | None:
    """Whether the statement is news of its call; None when no call has a row by that name."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = await _locked(connection, said)
        if call is None:
            return None
        if not said.proof.covers(call.project_id, call.account):
            return False
        if said.call_id is not None and not await identity.learn(connection, call, said.provider_call_id):
            return False
        reported = said.fact(call.call_id, call.project_id)
        if not await adoption.is_news(connection, reported):
            return False
        appended = await record(connection, [own(reported)])
    await news.publish(plane.bus, appended)
    return True


async def _locked(connection: Connection, said: Callback) -> Ledger | None:
    if said.call_id is not None:
        return (await ledger.lock(connection, [said.call_id])).get(said.call_id)
    return await ledger.lock_carriers(connection, said.provider, said.proof.account, said.provider_call_id)


async def _sent_on_its_way(plane: Plane, said: Callback, *, even_alone: bool) -> bool:
    """Whether the stream keeps the statement for the call's row; False when no number of ours is concerned.

    Unless ``even_alone``, it goes only where facts of the call wait already: then the row is still to be made. Raises
    `BusError`.
    """
    known = plane.routing.recall(said.provider, said.our_number)
    if known is None or not is_proven(plane, said.proof, known):
        return False
    call_id = said.call_id or ids.inbound_call_id(said.provider, said.proof.account, said.provider_call_id)
    reported = said.fact(call_id, known.project_id)
    subject = subjects.call(reported.project_id, call_id, "event")
    if not even_alone and await plane.bus.last(subject) is None:
        return False
    message_id = f"{call_id}.said.{adoption.digest(reported).hex()}"
    await plane.bus.publish(subject, encode(replace(reported, seq=_ON_THE_WAY_SEQ)), message_id=message_id)
    log.warning("callback.on_its_way", call_id=call_id, status=said.status)
    return True
