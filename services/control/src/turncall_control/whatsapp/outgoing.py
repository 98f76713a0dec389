"""A person whom we called over WhatsApp has picked up: the worker that waits gets the answer to its offer of sound."""

from turncall_control.calls import exchange, hangups, identity, ledger, news
from turncall_control.calls.exchange import WorkerGone
from turncall_control.carriers.base import CarrierError, Gone
from turncall_control.plane import Plane
from turncall_control.whatsapp import ends
from turncall_control.whatsapp.told import CallTold
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.webrtc import MAX_SDP, SdpAnswered
from turncall_runtime import logs

log = logs.logger(__name__)


async def picked_up(plane: Plane, project_id: ProjectId, told: CallTold) -> None:
    """Brings the answer to the worker, which takes it once. A call that is over here, or that we do not know, is ended
    at WhatsApp; one whose worker is gone too."""
    call_id = await ends.ours(plane, told)
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = None if call_id is None else (await ledger.lock(connection, [call_id])).get(call_id)
        is_live = (
            call is not None
            and told.proof.covers(call.project_id, call.account)
            and await identity.learn(connection, call, told.provider_call_id)
            and not (call.standing.is_final or call.standing.end_intended)
        )
        holder = await exchange.holder(connection, call) if call is not None and is_live else None
    if call_id is None or holder is None:
        await _end(plane, project_id, told)
        return
    try:
        if holder.worker is None or not 0 < len(told.sdp) <= MAX_SDP:
            raise WorkerGone("nobody waits for the answer, or there is none")
        answered = SdpAnswered(call_id=call_id, epoch=holder.epoch, sdp=told.sdp, deadline=exchange.deadline())
        reply = await exchange.ask(plane, holder.worker, answered)
        if reply.outcome == "refused":
            await _give_up(plane, call_id, EndedReason.TELEPHONY_FAILED, reply.detail)
        elif reply.outcome != "done":
            raise WorkerGone(f"the worker said {reply.outcome}")
    except WorkerGone as error:
        await _give_up(plane, call_id, EndedReason.WORKER_LOST, str(error))


async def _end(plane: Plane, project_id: ProjectId, told: CallTold) -> None:
    log.warning("call.picked_up_for_nobody", provider_call_id=told.provider_call_id)
    line = await plane.accounts.whatsapp_line(project_id, told.proof.account)
    try:
        if line is not None:
            await line.end_call(told.provider_call_id)
    except Gone:
        return
    except CarrierError as error:
        log.error("call.not_ended", provider_call_id=told.provider_call_id, error=str(error))


async def _give_up(plane: Plane, call_id: CallId, reason: EndedReason, why: str) -> None:
    log.error("call.not_connected", call_id=call_id, reason=reason, why=why)
    plane.counts.refused.labels(reason).inc()
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id]))[call_id]
        appended = await hangups.intend(connection, call, reason, CallState.FAILED, due_in_s=0, detail=why)
    await news.publish(plane.bus, appended)
    await exchange.tell_over(plane, call_id)
