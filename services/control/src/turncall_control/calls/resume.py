"""The step from epoch n to n+1: what becomes of a call whose media socket has ended."""

from typing import Final

from turncall_bus.bus import Bus, BusError
from turncall_control.calls import hangups, ledger, news, placement
from turncall_control.calls.admission import Admitted
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.plans import connect, plan
from turncall_control.carriers.base import Documents
from turncall_control.plane import Plane
from turncall_proto import ids, subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import MalformedMessage, decode_event
from turncall_proto.events import EpochClosed
from turncall_proto.ids import CallId
from turncall_runtime import logs

CONNECTION_LOST: Final = "We are sorry, the connection was lost. Please call again."

log = logs.logger(__name__)


async def advance(plane: Plane, documents: Documents, call_id: CallId, epoch: int) -> Admitted:
    """What the carrier is to do with a call after ``epoch``: go on with another worker in the next epoch, or hang up.

    The call goes on only if nobody means to end it, nobody says that it is over, and its worker has not closed the
    epoch with an end. Idempotent: the answer for an epoch is stored with the step, under the call's lock, and every
    repeat gets it. Of an epoch that is not the call's latest, the latest step's answer is returned.
    """
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        if call is None or epoch > call.standing.epoch:
            log.warning("resume.unknown_epoch", call_id=call_id, epoch=epoch)
            return Admitted(answer=documents.hang_up(), plan=None)
        stored = await _stored_answer(connection, call, epoch)
        if stored is not None:
            return Admitted(answer=stored, plan=None)
        appended, admitted = await _step(connection, plane, documents, call, epoch)
        await connection.execute(
            "insert into epochs (call_id, project_id, epoch, next_answer) values (%s, %s, %s, %s)"
            " on conflict (call_id, epoch) do update set next_answer = excluded.next_answer",
            (ids.parsed(ids.CALL, call_id), ids.parsed(ids.PROJECT, call.project_id), epoch, admitted.answer),
        )
    await news.publish(plane.bus, appended)
    return admitted


async def _step(
    connection: Connection, plane: Plane, documents: Documents, call: Ledger, epoch: int
) -> tuple[Appended, Admitted]:
    nothing = Appended(ledgers={call.call_id: call}, facts={})
    is_done = call.standing.is_final or call.standing.end_intended or epoch != call.standing.epoch
    if is_done or await _worker_ended_it(plane.bus, call, epoch):
        return nothing, Admitted(answer=documents.hang_up(), plan=None)
    placed = await placement.place(plane.bus, plane.workers, await plan(connection, plane, call.call_id, epoch + 1))
    if placed is not None:
        log.info("call.resumed", call_id=call.call_id, epoch=epoch + 1, worker=placed.plan.offered_to)
        return nothing, Admitted(answer=await connect(connection, plane, documents, placed), plan=placed.plan)
    log.error("call.worker_lost", call_id=call.call_id, epoch=epoch)
    lost = await hangups.intend(
        connection, call, EndedReason.WORKER_LOST, CallState.FAILED, due_in_s=hangups.LOOK_AFTER_S
    )
    return lost, Admitted(answer=documents.say_and_hang_up(CONNECTION_LOST), plan=None)


async def _stored_answer(connection: Connection, call: Ledger, epoch: int) -> str | None:
    """The answer given after this epoch, or after the latest one if this one was left behind by another trigger."""
    cursor = await connection.execute(
        "select next_answer from epochs where call_id = %s and epoch >= %s and epoch < greatest(%s, %s + 1)"
        " and next_answer is not null order by epoch desc limit 1",
        (ids.parsed(ids.CALL, call.call_id), epoch, call.standing.epoch, epoch),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def _worker_ended_it(bus: Bus, call: Ledger, epoch: int) -> bool:
    """Whether the worker's last word, which may not be a row yet, is that the call is over."""
    try:
        data = await bus.last(subjects.call(call.project_id, call.call_id, "event"))
        last = decode_event(data) if data is not None else None
    except (BusError, MalformedMessage):
        return False
    return isinstance(last, EpochClosed) and last.epoch == epoch and last.state is not None
