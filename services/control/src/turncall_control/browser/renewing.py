"""A page that goes on with its call: its connection changes or is made anew, or its worker is gone."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from turncall_control.browser.connecting import ASK_AGAIN_S, Answered, NobodyFree
from turncall_control.calls import exchange, ice, ledger, placement, resume
from turncall_control.calls.commanding import CallOver
from turncall_control.calls.exchange import Holder, WorkerGone
from turncall_control.calls.ledger import Ledger
from turncall_control.calls.placement import Placed
from turncall_control.calls.plans import begin_epoch, plan
from turncall_control.carriers import browser
from turncall_control.errors import Invalid, NotFound
from turncall_control.plane import Plane
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.webrtc import CandidatesTold, IceCandidate, SdpOffered
from turncall_runtime import logs

log = logs.logger(__name__)

_NOT_ITS: Final = frozenset({"unknown", "late"})


class Held(Struct, frozen=True, kw_only=True):
    """A live call, and who has its sound."""

    call: Ledger
    holder: Holder


async def renew(
    plane: Plane,
    project_id: ProjectId,
    call_id: CallId,
    sdp: str,
    *,
    is_new: bool,
) -> Answered:
    """The answer of the worker that has the call, or of another one that goes on with it in the next epoch.

    Raises `NotFound`, `CallOver`, `Invalid`, `NobodyFree`, `WorkerGone`.
    """
    held = await _held(plane, project_id, call_id)
    holder = held.holder
    if holder.worker is not None and holder.worker in plane.workers.heard_lately():
        offered = SdpOffered(
            call_id=call_id,
            epoch=holder.epoch,
            sdp=sdp,
            deadline=exchange.deadline(),
            is_new=is_new,
            ice_servers=ice.servers(plane.config, call_id),
        )
        try:
            reply = await exchange.ask(plane, holder.worker, offered)
        except WorkerGone:
            log.warning("browser.worker_gone", call_id=call_id, worker=holder.worker)
        else:
            if reply.outcome == "done":
                return Answered(call_id=call_id, sdp=reply.sdp)
            if reply.outcome not in _NOT_ITS:
                raise Invalid.at("sdp", reply.detail)
    placed = await _advance(plane, call_id, held.call.standing.epoch)
    assert placed.plan.offered_to is not None  # it is placed
    answer = await exchange.offer(plane, placed.plan.offered_to, placed.plan, sdp)
    return Answered(call_id=call_id, sdp=answer, plan=placed.plan)


async def tell(plane: Plane, project_id: ProjectId, call_id: CallId, candidates: tuple[IceCandidate, ...]) -> None:
    """Tells the call's worker of more addresses of the page. Raises `NotFound`, `CallOver`, `WorkerGone`."""
    holder = (await _held(plane, project_id, call_id)).holder
    if holder.worker is None:
        raise WorkerGone("no worker has the call")
    told = CandidatesTold(call_id=call_id, epoch=holder.epoch, deadline=exchange.deadline(), candidates=candidates)
    if (await exchange.ask(plane, holder.worker, told)).outcome != "done":
        raise WorkerGone("the worker does not have the call any more; offer anew")


async def _held(plane: Plane, project_id: ProjectId, call_id: CallId) -> Held:
    """Whose the call is. Raises `NotFound` for a call of another project or from elsewhere, and `CallOver`."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        if call is None or call.project_id != project_id or call.provider != browser.PROVIDER:
            raise NotFound
        if call.standing.is_final or call.standing.end_intended:
            raise CallOver
        return Held(call=call, holder=await exchange.holder(connection, call))


async def _advance(plane: Plane, call_id: CallId, epoch: int) -> Placed:
    """A worker that goes on with the call in the epoch after ``epoch``. Raises `CallOver` and `NobodyFree`."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id]))[call_id]
        if call.standing.is_final or call.standing.end_intended:
            raise CallOver
        if call.standing.epoch != epoch:
            raise WorkerGone("the call is being taken over; offer again")
        left = await resume.ask_about(connection, call, epoch)
        resumption = await resume.resumption(plane, call, epoch, left)
        if resumption is None:
            raise CallOver
        await resume.leave(connection, call, resumption)
        planned = await plan(connection, plane, call_id, epoch + 1)
        assert planned is not None  # it was planned before
        placed = await placement.place(plane.bus, plane.workers, replace(planned, resume=resumption), "resumed")
        if placed is None:
            plane.counts.held.labels("resume").inc()
            raise NobodyFree("no worker is free", headers={"Retry-After": str(ASK_AGAIN_S)})
        await begin_epoch(connection, placed)
    log.info("call.resumed", call_id=call_id, epoch=epoch + 1, worker=placed.plan.offered_to, cause=resumption.cause)
    plane.counts.resumed.labels(resumption.cause).inc()
    return placed
