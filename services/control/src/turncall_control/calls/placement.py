"""Finding a worker for an epoch of a call: plan it, offer it, make the plan a fact."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from turncall_bus.bus import Away, Bus, BusError, NoAnswer, NobodyListens
from turncall_control.workers import Workers
from turncall_proto import stream_token, subjects
from turncall_proto.agent import VendorRef
from turncall_proto.call import CallStart
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.ids import WorkerId
from turncall_proto.placement import OFFER_WITHIN_S, CallOffer, OfferReply, Priority, WorkerBeat
from turncall_proto.stream_token import StreamKey
from turncall_runtime import logs
from turncall_runtime.secret import Secret

PLACE_WITHIN_S = 1.0
"""A caller hears ringing while we look for a worker; after this the call is not placed."""
LOOKS_AT_LEAST = 6
"""How often a worker is looked for however long that takes: a process that stood still has not used its second."""
ASK_AGAIN_S = 1
"""How long a caller for whom no worker is free waits before the carrier asks again."""
WAIT_AT_MOST_S = 20.0
"""How long a caller whose worker was lost waits for another one in all; a new caller waits as their number says."""
WAIT_FOR_BUS_S = 60.0
"""The same while no worker can be found at all, because this process is cut off from the bus or was until lately."""
NEXT_BEAT_S = 0.05
"""How often the view is looked at while no beat has come yet."""
ANNOUNCE_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Between the tries of a call-start: longer in all than the 7.6 s that a stream without a leader was seen to stall."""

log = logs.logger(__name__)


class Placed(Struct, frozen=True, kw_only=True):
    """A worker holds a slot for this plan. ``media_url`` is where the carrier connects to, without a path."""

    plan: CallStart
    media_url: str

    def stream_url(self, keys: Sequence[StreamKey]) -> str:
        """The media socket of this epoch, good for a minute: ``ws(s)://…/media/{call}/{epoch}/{token}``."""
        token = stream_token.mint(keys, self.plan.call_id, self.plan.epoch, time.time())
        return f"{self.media_url}/media/{self.plan.call_id}/{self.plan.epoch}/{token}"


def needed_keys(refs: Iterable[VendorRef], vendor_keys: Mapping[str, Secret]) -> dict[str, Secret]:
    """The keys of these vendors, by name; vendors without a key are left out."""
    used = {ref.vendor for ref in refs}
    return {vendor: vendor_keys[vendor] for vendor in sorted(used) if vendor in vendor_keys}


def priority_of(plan: CallStart) -> Priority:
    """Resumed callers go first, then those who ring, then calls that were asked for by API."""
    if plan.resume is not None:
        return "resumed"
    return "inbound" if plan.direction == "inbound" else "outbound"


async def place(bus: Bus, workers: Workers, plan: CallStart, priority: Priority | None = None) -> Placed | None:
    """Offers the plan to one worker after another, and returns the one that accepted; None after `PLACE_WITHIN_S`
    and `LOOKS_AT_LEAST`.

    The worker is the last judge of what it can carry: one that refused is not asked again. One that did not answer in
    time may be busy with other arrivals, or dead: no call is offered to it before its next beat while others are left,
    and this one again when nobody is; a slot that it held for an answer we did not hear serves the next offer of the
    same epoch, or frees itself. A worker that has just lost this call is asked when nobody else is left. Beats that
    are late, or that a replica just started or stalled has not read yet, are waited for.

    ``priority`` is that of the plan unless it is given.
    """
    priority = priority or priority_of(plan)
    refused: set[WorkerId] = set()
    silent = {plan.resume.from_worker} if plan.resume and plan.resume.from_worker else set[WorkerId]()
    give_up_at = asyncio.get_running_loop().time() + PLACE_WITHIN_S
    looks = 0
    while asyncio.get_running_loop().time() < give_up_at or looks < LOOKS_AT_LEAST:
        looks += 1
        beat = workers.choose("calls", without=refused | silent, priority=priority)
        if beat is None:
            is_behind = workers.is_behind("calls")
            if not is_behind and not silent:
                return None
            silent.clear()
            await asyncio.sleep(NEXT_BEAT_S if is_behind else 0)
            continue
        offered = replace(plan, offered_to=beat.worker)
        answer = await _answer(bus, beat, offered, priority)
        if answer == "accepted":
            workers.placed(beat.worker)
            return Placed(plan=offered, media_url=beat.media_url)
        (silent if answer is None else refused).add(beat.worker)
        if answer in (None, "failed"):
            workers.suspect(beat.worker)
    return None


def may_wait(workers: Workers, waited_s: float, at_most_s: float = WAIT_AT_MOST_S) -> bool:
    """Whether a caller who has waited for a worker for this long is told to wait on."""
    return waited_s < (max(WAIT_FOR_BUS_S, at_most_s) if workers.is_cut_off else at_most_s)


async def _answer(bus: Bus, beat: WorkerBeat, plan: CallStart, priority: Priority) -> str | None:
    """What the worker says to the offer; None when it said nothing in time."""
    offer = CallOffer(plan=plan, deadline=datetime.now(UTC) + timedelta(seconds=OFFER_WITHIN_S), priority=priority)
    try:
        answer = await bus.ask(subjects.offer(beat.worker), encode(offer), timeout_s=OFFER_WITHIN_S)
        reply = decode(answer, OfferReply)
    except NoAnswer as error:
        log.warning("offer.unanswered", call_id=plan.call_id, worker=beat.worker, error=str(error))
        return None
    except (NobodyListens, Away, MalformedMessage) as error:
        log.warning("offer.failed", call_id=plan.call_id, worker=beat.worker, error=str(error))
        return "failed"
    if reply.answer != "accepted":
        log.info("offer.refused", call_id=plan.call_id, worker=beat.worker, answer=reply.answer, detail=reply.detail)
    return reply.answer


async def announce(bus: Bus, plan: CallStart) -> None:
    """Publishes the plan as the call's call-start, so that any worker can serve a socket that reaches it.

    The worker that accepted has the plan already, so a caller never waits for this. A repeat is not stored twice.
    Gives up after `ANNOUNCE_PAUSES_S` and says so in the log: the call then lives with its worker alone.
    """
    subject = subjects.call(plan.project_id, plan.call_id, "start")
    for pause_s in (*ANNOUNCE_PAUSES_S, None):
        try:
            await bus.publish(subject, encode(plan), message_id=f"{plan.call_id}.{plan.epoch}")
            return
        except BusError as error:
            if pause_s is None:
                log.error("call_start.unpublished", call_id=plan.call_id, epoch=plan.epoch, error=str(error))
                return
            await asyncio.sleep(pause_s)
