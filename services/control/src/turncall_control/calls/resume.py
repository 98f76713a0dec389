"""The step from epoch n to n+1: what becomes of a call whose media socket has ended."""

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from psycopg.rows import class_row

from turncall_bus.bus import BusError
from turncall_control.calls import closing, handoffs, ledger, news, placement, transfers
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.plans import connect, plan, resume_url
from turncall_control.calls.ringing import Admitted
from turncall_control.carriers.accounts import Proof
from turncall_control.carriers.base import Documents
from turncall_control.plane import Plane
from turncall_proto import ids, subjects
from turncall_proto.call import Claim, EndedReason, Resume
from turncall_proto.codec import MalformedMessage, decode, decode_event
from turncall_proto.events import EpochClosed
from turncall_proto.ids import CallId, ProjectId, WorkerId
from turncall_runtime import logs

log = logs.logger(__name__)


class Left(Struct, frozen=True, kw_only=True):
    """An epoch as its row has it: by whom it was served, and since when and why it is over."""

    worker: WorkerId | None = None
    lost_at: datetime | None = None
    lost_cause: Literal["socket_lost", "worker_silent", "drained"] | None = None
    waited_s: float = 0.0


async def advance(
    plane: Plane, documents: Documents, proof: Proof, call_id: CallId, epoch: int, *, is_redirected: bool = False
) -> Admitted | None:
    """What the carrier is to do with a call after ``epoch``: go on with another worker in the next epoch, or hang up.

    The call goes on only if nobody means to end it, nobody says that it is over, and its worker has not closed the
    epoch with an end. While no worker is free the carrier is told to ask again. Idempotent: the answer for an epoch is
    stored with the step, under the call's lock, and every repeat gets it. Of an epoch that is not the call's latest,
    the latest step's answer is returned; unless we made the carrier ask (``is_redirected``) and it was with the latest
    epoch already: then it has just torn that one's stream down for us, and the question is about that one. None for a
    call or an epoch that is not known here, or not yet, and for a call of an account that the webhook is no proof for.
    """
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        if call is not None and not proof.covers(call.project_id, call.account):
            log.error("resume.foreign_account", call_id=call_id, epoch=epoch)
            call = None
        if call is None or not 1 <= epoch <= call.standing.epoch:
            log.warning("resume.unknown_epoch", call_id=call_id, epoch=epoch)
            plane.counts.refused.labels("unknown_epoch").inc()
            return None
        epoch = await handoffs.on_its_stream(connection, call, epoch)
        if is_redirected and await _was_reached(connection, plane, call, epoch):
            epoch = call.standing.epoch
            await _mark_torn(connection, call)
        transfer = await transfers.of_epoch(connection, call, epoch)
        if transfer is not None and transfer.state in transfers.PENDING:
            url = transfers.url(plane, call.provider, transfer.id)
            return Admitted(answer=documents.hold(sentence=None, pause_s=1, ask_url=url), plan=None)
        if transfer is not None and transfer.state == "joined":
            return Admitted(answer=documents.hang_up(), plan=None)
        stored = await _stored_answer(connection, call, epoch)
        if stored is not None:
            return Admitted(answer=stored, plan=None)
        appended, admitted = await _step(connection, plane, documents, call, epoch)
        if admitted.is_settled and transfer is not None:
            await transfers.returned(connection, transfer)
        if admitted.is_settled:
            await connection.execute(
                "update epochs set next_answer = %s where call_id = %s and epoch = %s",
                (admitted.answer, ids.parsed(ids.CALL, call_id), epoch),
            )
    await news.publish(plane.bus, appended)
    return admitted


async def _step(
    connection: Connection, plane: Plane, documents: Documents, call: Ledger, epoch: int
) -> tuple[Appended, Admitted]:
    nothing = Appended(ledgers={call.call_id: call}, facts={})
    left = await ask_about(connection, call, epoch)
    is_done = call.standing.is_final or call.standing.end_intended or epoch != call.standing.epoch
    resume = None if is_done else await resumption(plane, call, epoch, left)
    if resume is None:
        return nothing, Admitted(answer=documents.hang_up(), plan=None)
    if left.lost_at is None and plane.workers.is_cut_off and placement.may_wait(plane.workers, left.waited_s):
        # The worker's last word, and with it the end of the call, may wait in its spool for the bus to come back.
        return nothing, _held(plane, documents, call, epoch, resume)
    await leave(connection, call, resume)
    planned = await plan(connection, plane, call.call_id, epoch + 1)
    if planned is not None and (await transfers.of_epoch(connection, call, epoch)) is None:
        planned = replace(planned, resume=resume)
    placed = planned and await placement.place(plane.bus, plane.workers, planned, "resumed")
    if placed:
        log.info(
            "call.resumed",
            call_id=call.call_id,
            epoch=epoch + 1,
            worker=placed.plan.offered_to,
            from_worker=resume.from_worker,
            cause=resume.cause,
        )
        plane.counts.resumed.labels(resume.cause).inc()
        return nothing, Admitted(answer=await connect(connection, plane, documents, placed), plan=placed.plan)
    if placement.may_wait(plane.workers, left.waited_s):
        return nothing, _held(plane, documents, call, epoch, resume)
    log.error("call.worker_lost", call_id=call.call_id, epoch=epoch, worker=resume.from_worker)
    return await closing.turn_away(connection, plane, documents, call, EndedReason.WORKER_LOST, "no worker is free")


def _held(plane: Plane, documents: Documents, call: Ledger, epoch: int, resume: Resume) -> Admitted:
    log.warning("call.held", call_id=call.call_id, epoch=epoch, cause=resume.cause)
    plane.counts.held.labels("resume").inc()
    url = resume_url(plane, call.provider, call.call_id, epoch)
    answer = documents.hold(sentence=None, pause_s=placement.ASK_AGAIN_S, ask_url=url)
    return Admitted(answer=answer, plan=None, is_settled=False)


async def ask_about(connection: Connection, call: Ledger, epoch: int) -> Left:
    """The epoch that the carrier asks about; its first question is noted, and ends the redirecting."""
    async with connection.cursor(row_factory=class_row(Left)) as cursor:
        await cursor.execute(
            "insert into epochs (call_id, project_id, epoch, asked_at) values (%s, %s, %s, now())"
            " on conflict (call_id, epoch) do update"
            " set asked_at = coalesce(epochs.asked_at, excluded.asked_at), redirect_due = null"
            " returning worker, lost_at, lost_cause,"
            " extract(epoch from now() - epochs.asked_at)::float as waited_s",
            (ids.parsed(ids.CALL, call.call_id), ids.parsed(ids.PROJECT, call.project_id), epoch),
        )
        return await cursor.fetchone() or Left()


async def resumption(plane: Plane, call: Ledger, epoch: int, left: Left) -> Resume | None:
    """Why the next epoch follows this one; None when the worker's last word, perhaps not a row yet, ended the call.

    A worker closes its epoch without a state when it hands the call over, and when its socket broke: then it is not
    draining.
    """
    resume = Resume(from_epoch=epoch, from_worker=left.worker, cause="socket_lost", lost_at=datetime.now(UTC))
    if left.lost_at is not None and left.lost_cause is not None:
        return replace(resume, cause=left.lost_cause, lost_at=left.lost_at)
    closed = await _closed(plane, call.project_id, call.call_id, epoch)
    if closed is not None and closed.state is not None:
        return None
    is_draining = _is_draining(plane, left.worker)
    if closed is None:
        # A recording on its way to the store holds the last fact up; the socket is closed before.
        return replace(resume, cause="drained") if is_draining else resume
    if is_draining is False:
        return resume
    return replace(resume, cause="drained", lost_at=min(closed.at, resume.lost_at))


def _is_draining(plane: Plane, worker: WorkerId | None) -> bool | None:
    """What the worker's beats say of it; None when it is not heard, as when it has left."""
    return next((beat.is_draining for beat in plane.workers.alive("calls") if beat.worker == worker), None)


async def is_over(plane: Plane, project_id: ProjectId, call_id: CallId, epoch: int) -> bool:
    """Whether the worker's last word on the epoch ended the call; Postgres is not asked."""
    closed = await _closed(plane, project_id, call_id, epoch)
    return closed is not None and closed.state is not None


async def _closed(plane: Plane, project_id: ProjectId, call_id: CallId, epoch: int) -> EpochClosed | None:
    """The worker's last word on the epoch, which may not be a row yet."""
    try:
        data = await plane.bus.last(subjects.call(project_id, call_id, "event"))
        last = decode_event(data) if data is not None else None
    except (BusError, MalformedMessage):
        return None
    return last if isinstance(last, EpochClosed) and last.epoch == epoch else None


async def leave(connection: Connection, call: Ledger, resume: Resume) -> None:
    """Takes the call away from the worker of this epoch; what that one says about its end does not count from here."""
    row = ids.parsed(ids.CALL, call.call_id)
    await connection.execute(
        "with lost as (update epochs set lost_at = %s, lost_cause = %s where call_id = %s and epoch = %s)"
        " update calls set left_epoch = greatest(left_epoch, %s) where id = %s",
        (resume.lost_at, resume.cause, row, resume.from_epoch, resume.from_epoch, row),
    )


async def _was_reached(connection: Connection, plane: Plane, call: Ledger, epoch: int) -> bool:
    """Whether the carrier has brought the call to a later epoch than this one: a worker opened or claimed it."""
    latest = call.standing.epoch
    if latest <= epoch:
        return False
    cursor = await connection.execute(
        "select opened_at is not null from epochs where call_id = %s and epoch = %s",
        (ids.parsed(ids.CALL, call.call_id), latest),
    )
    if await cursor.fetchone() == (True,):
        return True
    try:
        claim = await plane.bus.last(subjects.call(call.project_id, call.call_id, "claim"))
        return claim is not None and decode(claim, Claim).epoch >= latest
    except (BusError, MalformedMessage):
        return False


async def _mark_torn(connection: Connection, call: Ledger) -> None:
    """Notes that the stream of the latest epoch is gone, so that its worker's word on the end does not count."""
    await connection.execute(
        "update epochs set lost_at = coalesce(lost_at, now()), lost_cause = coalesce(lost_cause, 'socket_lost')"
        " where call_id = %s and epoch = %s",
        (ids.parsed(ids.CALL, call.call_id), call.standing.epoch),
    )


async def _stored_answer(connection: Connection, call: Ledger, epoch: int) -> str | None:
    """The answer given after this epoch, or after the latest one if this one was left behind by another trigger."""
    cursor = await connection.execute(
        "select next_answer from epochs where call_id = %s and epoch >= %s and epoch < greatest(%s, %s + 1)"
        " and next_answer is not null order by epoch desc limit 1",
        (ids.parsed(ids.CALL, call.call_id), epoch, call.standing.epoch, epoch),
    )
    row = await cursor.fetchone()
    return row[0] if row else None
