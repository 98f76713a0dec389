"""A call that rings on a WhatsApp number: decided about like any other, then taken with a worker's answer to its sound.

Deciding stores the call before the webhook is answered; what follows goes on after that, in this process. If it dies
meanwhile, WhatsApp gives the caller up within a minute and says so.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Final

from turncall_control.calls import (
    admission,
    deciding,
    exchange,
    hangups,
    ledger,
    lookup,
    news,
    placement,
    resume,
)
from turncall_control.calls.exchange import WorkerGone
from turncall_control.calls.lookup import Unrouted
from turncall_control.calls.placement import Placed
from turncall_control.calls.plans import begin_epoch, plan
from turncall_control.calls.ringing import Admitted, Ringing
from turncall_control.carriers import whatsapp_calls
from turncall_control.carriers.base import CarrierError, Gone
from turncall_control.carriers.whatsapp_calls import WhatsAppLine
from turncall_control.errors import Invalid
from turncall_control.plane import Plane
from turncall_control.whatsapp import ends
from turncall_control.whatsapp.told import CallTold, ringing_of
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.ids import ProjectId, WorkerId
from turncall_proto.webrtc import MAX_SDP, SoundAccepted
from turncall_runtime import logs

PAUSES_S: Final = (0.5, 1.0, 2.0)
"""Between the tries to have WhatsApp take an answer; a repeat with the same answer is harmless."""
ANOTHER_WORKER: Final = 2
"""How often another worker is asked for an answer while the caller hears that it rings."""

log = logs.logger(__name__)

Rest = Callable[[], Coroutine[None, None, None]]
"""What is left to be done about a call once the webhook is answered."""


async def take(plane: Plane, project_id: ProjectId, told: CallTold) -> Rest | None:
    """Decides about a call that rings, and stores it; None when nothing is left: for a repeat, and a call that is over.

    Raises what the database raises: WhatsApp is to bring it again.
    """
    ringing = ringing_of(told)
    try:
        admitted = await _decided(plane, ringing)
    except Unrouted as reason:
        log.warning("call.unrouted", provider_call_id=ringing.provider_call_id, reason=str(reason))
        return None
    if admitted.plan is None and admitted.answer in (whatsapp_calls.TAKEN, whatsapp_calls.OVER):
        return None
    return partial(_go_on, plane, project_id, ringing, told.sdp, admitted)


async def _decided(plane: Plane, ringing: Ringing) -> Admitted:
    async with plane.turns.setdefault(ringing.call_id, asyncio.Lock()):
        found = await lookup.find(plane, ringing)
        is_open = found.number.settings.channels.voice and found.call is None
        routed = await deciding.decide(plane, found, ringing) if is_open else None
        return await admission.admit(plane, whatsapp_calls, ringing, found, routed)


async def _go_on(plane: Plane, project_id: ProjectId, ringing: Ringing, sdp: str, admitted: Admitted) -> None:
    """Takes or refuses the call, which has been decided about; waits for that while no worker is free."""
    with logs.bound(call_id=ringing.call_id):
        while admitted.answer == whatsapp_calls.WAITS:
            await asyncio.sleep(placement.ASK_AGAIN_S)
            admitted = await _decided(plane, ringing)
        line = await plane.accounts.whatsapp_line(project_id, ringing.account)
        if line is None:
            log.error("call.no_sender", account=ringing.account)
            return
        if admitted.plan is not None:
            await _connect(plane, line, admitted.plan, sdp)
        elif admitted.answer in (whatsapp_calls.BUSY, whatsapp_calls.UNANSWERED):
            await _refuse(plane, line, ringing, admitted.answer)


async def _refuse(plane: Plane, line: WhatsAppLine, ringing: Ringing, outcome: str) -> None:
    """Has WhatsApp end the call, and calls it what it is: WhatsApp itself has one word for all that was not taken."""
    try:
        await line.refuse(ringing.provider_call_id)
    except Gone:
        return
    except CarrierError as error:
        log.warning("call.not_refused", error=str(error))  # the intent to end it is stored, and asks again
        return
    await ends.note(plane, ringing, outcome)


async def _connect(plane: Plane, line: WhatsAppLine, planned: CallStart, sdp: str) -> None:
    """Has the worker answer the caller's sound, and WhatsApp take the answer; a call that comes to nothing is ended."""
    call_id = planned.provider_call_id
    try:
        planned, answer = await _answered(plane, planned, sdp)
        await _insisting(lambda: line.pre_accept(call_id, answer))
        await _insisting(lambda: line.accept(call_id, answer))
        assert planned.offered_to is not None  # it is placed
        accepted = SoundAccepted(call_id=planned.call_id, epoch=planned.epoch, deadline=exchange.deadline())
        await exchange.ask(plane, planned.offered_to, accepted)
    except Invalid as error:
        await _give_up(plane, planned, EndedReason.TELEPHONY_FAILED, f"the offer of sound is of no use: {error}")
    except WorkerGone as error:
        await _give_up(plane, planned, EndedReason.WORKER_LOST, str(error))
    except Gone:
        log.info("call.gone_before_it_was_taken")
    except CarrierError as error:
        await _give_up(plane, planned, EndedReason.TELEPHONY_FAILED, str(error))


async def _answered(plane: Plane, planned: CallStart, sdp: str) -> tuple[CallStart, str]:
    """A worker's answer to the offer, of the worker that holds a slot or of another one, and the plan that it has.

    Raises `Invalid`, and `WorkerGone` when no worker answers.
    """
    if not exchange.has_sound(sdp) or len(sdp) > MAX_SDP:
        raise Invalid.at("sdp", "it holds no audio line")
    for _ in range(ANOTHER_WORKER):
        try:
            answer = await exchange.offer(plane, _worker(planned), planned, sdp)
        except WorkerGone as error:
            log.warning("call.worker_gone", worker=planned.offered_to, error=str(error))
            planned = await _with_another(plane, planned)
        else:
            await placement.announce(plane.bus, planned)
            return planned, answer
    answer = await exchange.offer(plane, _worker(planned), planned, sdp)
    await placement.announce(plane.bus, planned)
    return planned, answer


def _worker(planned: CallStart) -> WorkerId:
    assert planned.offered_to is not None  # it is placed
    return planned.offered_to


async def _with_another(plane: Plane, planned: CallStart) -> CallStart:
    """The plan of the next epoch, for which another worker holds a slot: nobody has heard an agent yet, so it resumes
    nothing. Raises `WorkerGone` when there is none."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [planned.call_id]))[planned.call_id]
        if call.standing.is_final or call.standing.end_intended or call.standing.epoch != planned.epoch:
            raise Gone("the call is over, or somebody else goes on with it")
        left = await resume.ask_about(connection, call, planned.epoch)
        resumption = await resume.resumption(plane, call, planned.epoch, left)
        if resumption is None:
            raise Gone("the call is over")
        await resume.leave(connection, call, resumption)
        following = await plan(connection, plane, planned.call_id, planned.epoch + 1)
        assert following is not None  # it was planned before
        placed: Placed | None = await placement.place(plane.bus, plane.workers, following)
        if placed is None:
            raise WorkerGone("no worker is free")
        await begin_epoch(connection, placed)
    plane.counts.resumed.labels(resumption.cause).inc()
    return placed.plan


async def _insisting(act: Callable[[], Awaitable[None]]) -> None:
    """Asks WhatsApp again while it is away. Raises a `CarrierError`."""
    for pause_s in (*PAUSES_S, None):
        try:
            await act()
            return
        except CarrierError as error:
            if pause_s is None or not error.is_retryable:
                raise
            log.warning("whatsapp.asked_again", error=str(error))
            await asyncio.sleep(pause_s)


async def _give_up(plane: Plane, planned: CallStart, reason: EndedReason, why: str) -> None:
    log.error("call.not_taken", reason=reason, why=why)
    plane.counts.refused.labels(reason).inc()
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [planned.call_id]))[planned.call_id]
        appended = await hangups.intend(connection, call, reason, CallState.NO_ANSWER, due_in_s=0, detail=why)
    await news.publish(plane.bus, appended)
    await exchange.tell_over(plane, planned.call_id)
