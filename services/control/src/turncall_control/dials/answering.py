"""A call of ours that was answered: a worker is found for it, as for one that rings here."""

from datetime import UTC, datetime
from typing import Final

from turncall_control.calls import closing, hangups, identity, ledger, news, placement
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.plans import connect, plan
from turncall_control.calls.projector import record
from turncall_control.calls.ringing import Admitted
from turncall_control.carriers.accounts import Proof
from turncall_control.carriers.base import Documents
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import CallAnswered, VoicemailDetected
from turncall_proto.ids import CallId
from turncall_runtime import logs

WAIT_AT_MOST_S: Final = 5.0
"""How long somebody who picked up hears nothing while no worker is free; there was room when they were called."""

log = logs.logger(__name__)


async def answer(
    plane: Plane, documents: Documents, proof: Proof, call_id: CallId, provider_call_id: str, answered_by: str
) -> Admitted | None:
    """What the carrier is to do with a call that somebody has picked up; a repeat gets the stored answer.

    ``answered_by`` is who that was, if the carrier has found out: a machine gets the agent only if the agent has
    something to say to machines.
    None for a call that is not known, is another account's, or that the carrier has under another id already.
    """
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        if call is None or not proof.covers(call.project_id, call.account):
            log.error("outbound.unknown", call_id=call_id)
            return None
        if not await identity.learn(connection, call, provider_call_id):
            return None
        stored, waited_s = await _known(connection, call)
        if stored is not None:
            return Admitted(answer=stored, plan=None)
        await connection.execute(
            "update calls set answered_by = %s where id = %s", (answered_by, ids.parsed(ids.CALL, call_id))
        )
        appended = await _answered(connection, call)
        stated, admitted = await _place(connection, plane, documents, appended.ledgers[call_id], waited_s)
        if admitted.is_settled:
            await connection.execute(
                "update calls set answer = %s where id = %s", (admitted.answer, ids.parsed(ids.CALL, call_id))
            )
    await news.publish(plane.bus, appended.join(stated))
    return admitted


async def _known(connection: Connection, call: Ledger) -> tuple[str | None, float]:
    """The answer that the carrier got already, and how many seconds ago the call was answered."""
    cursor = await connection.execute(
        "select answer, coalesce(extract(epoch from now() - answered_at), 0)::float from calls where id = %s",
        (ids.parsed(ids.CALL, call.call_id),),
    )
    answer, waited_s = await cursor.fetchone() or (None, 0.0)
    return answer, waited_s


async def _answered(connection: Connection, call: Ledger) -> Appended:
    """States that the call is answered, once; the carrier's own word for it may come before or after."""
    if call.standing.answered_at is not None or call.standing.is_final:
        return Appended(ledgers={call.call_id: call}, facts={})
    fact = CallAnswered(call_id=call.call_id, project_id=call.project_id, epoch=0, seq=UNNUMBERED, at=datetime.now(UTC))
    return await record(connection, [own(fact)])


async def _place(
    connection: Connection, plane: Plane, documents: Documents, call: Ledger, waited_s: float
) -> tuple[Appended, Admitted]:
    nothing = Appended(ledgers={call.call_id: call}, facts={})
    if call.standing.is_final or call.standing.end_intended:
        return nothing, Admitted(answer=documents.hang_up(), plan=None)
    planned = await plan(connection, plane, call.call_id, epoch=1)
    if planned is None:
        return await closing.turn_away(connection, plane, documents, call, EndedReason.REJECTED, "no agent speaks")
    if planned.answered_by.startswith("machine") and not _speaks_to_machines(planned.agent):
        return await _at_machine(connection, documents, call)
    # Somebody is on the line: as urgent as one who rings.
    placed = await placement.place(plane.bus, plane.workers, planned, "inbound")
    if placed is not None:
        return nothing, Admitted(answer=await connect(connection, plane, documents, placed), plan=placed.plan)
    if placement.may_wait(plane.workers, waited_s, WAIT_AT_MOST_S):
        log.warning("call.held", call_id=call.call_id, epoch=0)
        plane.counts.held.labels("placement").inc()
        url = f"{plane.config.public_url}/webhooks/{call.provider}/voice/outbound/{call.call_id}"
        answer = documents.hold(sentence=None, pause_s=placement.ASK_AGAIN_S, ask_url=url)
        return nothing, Admitted(answer=answer, plan=None, is_settled=False)
    return await closing.turn_away(connection, plane, documents, call, EndedReason.NO_CAPACITY, "no worker is free")


def _speaks_to_machines(agent: AgentSpec) -> bool:
    return agent.voicemail is not None and agent.voicemail.action == "leave_message"


async def _at_machine(connection: Connection, documents: Documents, call: Ledger) -> tuple[Appended, Admitted]:
    """Ends a call that a machine has answered, to which nobody has anything to say."""
    detected = VoicemailDetected(
        call_id=call.call_id, project_id=call.project_id, epoch=0, seq=UNNUMBERED, at=datetime.now(UTC), clue="carrier"
    )
    appended = await record(connection, [own(detected)])
    intended = await hangups.intend(
        connection,
        appended.ledgers[call.call_id],
        EndedReason.VOICEMAIL,
        CallState.COMPLETED,
        due_in_s=hangups.LOOK_AFTER_S,
    )
    return appended.join(intended), Admitted(answer=documents.hang_up(), plan=None)
