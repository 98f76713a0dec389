"""Inbound calls while Postgres is away: answered from the last known routing, recorded from JetStream afterwards.

Control's first facts of such a call travel like a worker's: they wait in the stream, and the projector makes the row
from `CallInitializing`. So nothing depends on this process living until Postgres is back.
"""

import time
from datetime import UTC, datetime
from typing import Any, Final

from msgspec.structs import replace

from turncall_bus.bus import Bus, BusError
from turncall_control.calls import closing, deciding, placement
from turncall_control.calls.admission import first_facts
from turncall_control.calls.plans import first_plan, join
from turncall_control.calls.ringing import Admitted, Ringing, is_proven
from turncall_control.carriers.base import Documents
from turncall_control.plane import Plane
from turncall_control.routing import BoundNumber, Hold, Reject
from turncall_proto import subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import encode
from turncall_proto.events import CallEvent, EndIntended, ForwardBegun
from turncall_runtime import logs

SINCE: Final = "waiting_since"
"""The query parameter that carries, in unix seconds, when a caller began to wait; the carrier's signature covers it."""
CLOCKS_APART_S: Final = 5.0
"""A caller's first question may lie in the future by so much: another replica's clock noted it."""

log = logs.logger(__name__)


async def admit(plane: Plane, documents: Documents, ringing: Ringing, since_s: float | None) -> Admitted:
    """Answers a call without Postgres. ``since_s`` is when its caller began to wait, None at the first question.

    A repeat gets the same answer from this process. Another one places the call again: the first worker that claims the
    epoch serves it, the second one turns its socket away, and an unused slot frees itself.
    A user's server is not asked, because its answer could not be kept: the number's fallback agent answers.
    """
    told = plane.told.about(ringing.call_id)
    async with told.turn:
        if told.document is not None:
            return Admitted(answer=told.document, plan=None)
        admitted = await _admit(plane, documents, ringing, since_s)
        if admitted.is_settled:
            told.document = admitted.answer
        return admitted


async def _admit(plane: Plane, documents: Documents, ringing: Ringing, since_s: float | None) -> Admitted:
    number = plane.routing.recall(ringing.provider, ringing.to_number)
    if number is not None and not is_proven(plane, ringing.proof, number):
        number = None
    if number is not None and not number.settings.channels.voice:
        return Admitted(answer=documents.reject(is_busy=False), plan=None)
    known = deciding.recall(plane.routing, number, ringing.from_number, ringing.call_id) if number else None
    if number is None or known is None:
        log.error("call.unrouted", provider_call_id=ringing.provider_call_id, reason="Postgres is away")
        plane.counts.refused.labels("route_unknown").inc()
        return Admitted(answer=documents.say_and_hang_up(closing.NOT_IN_SERVICE), plan=None)
    routed, agent = known
    initializing = first_facts(ringing, number.project_id, routed)[0]
    if await _publish(plane.bus, replace(initializing, seq=1)):
        wallet = await plane.wallets.recall(number.project_id)
        plan = first_plan(plane, ringing, number, wallet, routed, agent)
        placed = await placement.place(plane.bus, plane.workers, plan)
        if placed is not None:
            log.warning("call.unrecorded", call_id=plan.call_id, worker=placed.plan.offered_to)
            plane.counts.unrecorded.inc()
            return Admitted(answer=join(plane, documents, placed), plan=placed.plan)
    return await _not_placed(plane, documents, ringing, number, since_s)


async def _not_placed(
    plane: Plane, documents: Documents, ringing: Ringing, number: BoundNumber, since_s: float | None
) -> Admitted:
    """What a caller gets whom no worker takes: the number's busy policy, as far as it goes without a row."""
    settings = number.settings
    url = f"{plane.config.public_url}/webhooks/{ringing.provider}/voice/inbound"
    held = hold(plane, documents, url, since_s, settings.busy.message) if isinstance(settings.busy, Hold) else None
    if held is not None:
        log.warning("call.held", call_id=ringing.call_id, epoch=0)
        return held
    log.error("call.no_capacity", call_id=ringing.call_id)
    plane.counts.refused.labels(EndedReason.NO_CAPACITY).inc()
    header: dict[str, Any] = {
        "call_id": ringing.call_id,
        "project_id": number.project_id,
        "epoch": 0,
        "seq": 2,
        "at": datetime.now(UTC),
    }
    if isinstance(settings.busy, Reject):
        await _publish(plane.bus, EndIntended(reason=EndedReason.NO_CAPACITY, state=CallState.BUSY, **header))
        return Admitted(answer=documents.reject(is_busy=True), plan=None)
    if settings.fallback.number is not None:
        await _publish(plane.bus, ForwardBegun(because=EndedReason.NO_CAPACITY, **header))
        return Admitted(answer=_forward(plane, documents, ringing, settings.fallback.number), plan=None)
    await _publish(plane.bus, EndIntended(reason=EndedReason.NO_CAPACITY, state=CallState.FAILED, **header))
    words = closing.last_words(settings, EndedReason.NO_CAPACITY)
    return Admitted(answer=documents.say_and_hang_up(words), plan=None)


def _forward(plane: Plane, documents: Documents, ringing: Ringing, number: str) -> str:
    return closing.forwarding(
        plane,
        documents,
        ringing.call_id,
        ringing.provider,
        ringing.from_number,
        ringing.to_number,
        number,
        is_new=True,
    )


def hold(
    plane: Plane, documents: Documents, url: str, since_s: float | None, sentence: str | None = None
) -> Admitted | None:
    """Has the carrier ask ``url`` again each second, a minute long at most; None when that is over.

    The sentence is spoken at the first question.
    """
    now_s = time.time()
    waited_s = 0.0 if since_s is None else now_s - since_s
    if not -CLOCKS_APART_S < waited_s < placement.WAIT_FOR_BUS_S:
        return None
    plane.counts.held.labels("database_away").inc()
    answer = documents.hold(
        sentence=sentence if since_s is None else None,
        pause_s=placement.ASK_AGAIN_S,
        ask_url=f"{url}?{SINCE}={now_s - waited_s:.0f}",
    )
    return Admitted(answer=answer, plan=None, is_settled=False)


async def _publish(bus: Bus, fact: CallEvent) -> bool:
    """Whether the stream has the fact; a repeat is not stored twice. The ledger gives it its number."""
    subject = subjects.call(fact.project_id, fact.call_id, "event")
    try:
        await bus.publish(subject, encode(fact), message_id=subjects.message_id(fact.call_id, fact.epoch, fact.seq))
    except BusError as error:
        log.warning("call.unpublished", call_id=fact.call_id, error=str(error))
        return False
    return True
