"""What a call's other side and its worker say to each other about their connection, through control."""

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from turncall_bus.bus import BusError
from turncall_control.calls import ice, ledger
from turncall_control.calls.ledger import Connection, Ledger
from turncall_control.errors import ControlError, Invalid
from turncall_control.plane import Plane
from turncall_proto import ids, subjects
from turncall_proto.call import CallStart
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.ids import CallId, WorkerId
from turncall_proto.webrtc import EXCHANGE_WITHIN_S, SdpOffered, SdpReply, SdpWanted, SoundOver, Told
from turncall_runtime import logs

log = logs.logger(__name__)


class WorkerGone(ControlError):
    """The worker that was to answer the offer is gone, or does not answer; another one may."""

    status, name, title = 504, "worker-silent", "The call's worker did not answer in time"


def deadline() -> datetime:
    """Until when a worker may answer what is asked now."""
    return datetime.now(UTC) + timedelta(seconds=EXCHANGE_WITHIN_S)


async def ask(plane: Plane, worker: WorkerId, what: Told) -> SdpReply:
    """What the worker says. Raises `WorkerGone`."""
    left_s = (what.deadline - datetime.now(UTC)).total_seconds()
    try:
        return decode(await plane.bus.ask(subjects.sdp(worker), encode(what), timeout_s=left_s), SdpReply)
    except (BusError, MalformedMessage) as error:
        raise WorkerGone("no worker answered the offer; offer again") from error


async def offer(plane: Plane, worker: WorkerId, planned: CallStart, sdp: str) -> str:
    """The worker's answer to the first offer of an epoch. Raises `Invalid` and `WorkerGone`."""
    offered = SdpOffered(
        call_id=planned.call_id,
        epoch=planned.epoch,
        sdp=sdp,
        deadline=deadline(),
        is_new=True,
        ice_servers=ice.servers(plane.config, planned.call_id),
        peer="whatsapp" if planned.channel == "whatsapp" else "browser",
    )
    reply = await ask(plane, worker, offered)
    if reply.outcome == "refused":
        raise Invalid.at("sdp", reply.detail)
    if reply.outcome != "done":
        raise WorkerGone(f"the worker said {reply.outcome}; offer again")
    return reply.sdp


async def want(plane: Plane, worker: WorkerId, planned: CallStart, waits_s: float) -> str:
    """The worker's own offer, for a person who is to be called and has ``waits_s`` to pick up. Raises `WorkerGone`."""
    wanted = SdpWanted(
        call_id=planned.call_id,
        epoch=planned.epoch,
        deadline=deadline(),
        waits_s=waits_s,
        ice_servers=ice.servers(plane.config, planned.call_id),
    )
    reply = await ask(plane, worker, wanted)
    if reply.outcome != "done":
        raise WorkerGone(f"the worker said {reply.outcome}")
    return reply.sdp


async def tell_over(plane: Plane, call_id: CallId) -> None:
    """Tells the worker that has a call's sound that the call is over; one that is gone needs not be told."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        held = await holder(connection, call) if call is not None else None
    if held is None or held.worker is None:
        return
    try:
        await ask(plane, held.worker, SoundOver(call_id=call_id, epoch=held.epoch, deadline=deadline()))
    except WorkerGone as error:
        log.info("call.worker_not_told", call_id=call_id, worker=held.worker, error=str(error))


class Holder(Struct, frozen=True, kw_only=True):
    """Who has a call's sound: the worker of the epoch in which its stream began."""

    epoch: int
    worker: WorkerId | None


async def holder(connection: Connection, call: Ledger) -> Holder:
    """Whose a locked call is; an agent that was given the call speaks on the stream of the one before."""
    cursor = await connection.execute(
        "select worker, coalesce((select max(epoch) from epochs s where s.call_id = e.call_id"
        " and s.epoch <= e.epoch and s.handoff is null), 1) from epochs e"
        " where call_id = %s and epoch = %s",
        (ids.parsed(ids.CALL, call.call_id), call.standing.epoch),
    )
    worker, began = await cursor.fetchone() or (None, 1)
    return Holder(epoch=began, worker=worker)


SOUND: Final = "m=audio "


def has_sound(sdp: str) -> bool:
    """Whether an offer has a line of sound at all; the worker is the judge of the rest."""
    return any(line.startswith(SOUND) for line in sdp.splitlines())
