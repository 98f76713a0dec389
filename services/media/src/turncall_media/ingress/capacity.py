"""How many calls this worker carries, and its answers to offers of more."""

from collections import Counter as Multiset
from collections.abc import Callable
from datetime import datetime
from typing import Final

from msgspec import Struct

from turncall_media.counters import Counters
from turncall_media.ingress.load import Load
from turncall_proto.call import CallStart
from turncall_proto.codec import decode, encode
from turncall_proto.ids import CallId, WorkerId
from turncall_proto.placement import HOLD_SLOT_S, CallOffer, OfferReply, slots_for

SOCKETS_PER_EPOCH: Final = 2
"""A carrier's second stream for an epoch may overtake a first one that went silent; a third has no reason."""


class Seat(Struct, frozen=True, kw_only=True):
    """A slot taken by one media socket. ``plan`` is what was offered and accepted for it, if it was offered here."""

    call_id: CallId
    epoch: int
    plan: CallStart | None


class _Reservation(Struct, frozen=True, kw_only=True):
    plan: CallStart
    expires_s: float


class Capacity:
    """The slots of one worker: each is free, reserved by an accepted offer, or taken by a socket.

    ``clock_s`` is monotonic seconds, ``now`` aware UTC. ``unfit`` says why a plan cannot be served here, or None.
    ``load`` is what the process bears at the moment.
    """

    def __init__(
        self,
        *,
        worker: WorkerId,
        slots: int,
        unfit: Callable[[CallStart], str | None],
        load: Callable[[], Load],
        clock_s: Callable[[], float],
        now: Callable[[], datetime],
        counters: Counters,
    ) -> None:
        self._worker = worker
        self._slots = slots
        self._unfit = unfit
        self._load = load
        self._clock_s = clock_s
        self._now = now
        self._counters = counters
        self._reserved: dict[tuple[CallId, int], _Reservation] = {}
        self._live: Multiset[tuple[CallId, int]] = Multiset()
        self.is_draining = False

    @property
    def slots(self) -> int:
        """How many there are."""
        return self._slots

    @property
    def used(self) -> int:
        """Taken and reserved slots."""
        self._expire()
        return self._live.total() + len(self._reserved)

    async def answer(self, data: bytes) -> bytes:
        """Answers one `CallOffer` off the bus. Raises `MalformedMessage`, which leaves the asker without an answer."""
        reply = self.consider(decode(data, CallOffer))
        self._counters.offers.labels(reply.answer).inc()
        return encode(reply)

    def consider(self, offer: CallOffer) -> OfferReply:
        """Reserves a slot for `HOLD_SLOT_S`, or says why not. A repeated offer renews its reservation."""
        key = (offer.plan.call_id, offer.plan.epoch)
        if self._now() >= offer.deadline:
            return OfferReply(worker=self._worker, answer="late")
        if self.is_draining:
            return OfferReply(worker=self._worker, answer="draining")
        if why := self._unfit(offer.plan):
            return OfferReply(worker=self._worker, answer="unfit", detail=why)
        if key not in self._live:
            if key not in self._reserved and (why := self._no_room(offer)):
                return OfferReply(worker=self._worker, answer="full", detail=why)
            self._reserved[key] = _Reservation(plan=offer.plan, expires_s=self._clock_s() + HOLD_SLOT_S)
        return OfferReply(worker=self._worker, answer="accepted")

    def _no_room(self, offer: CallOffer) -> str | None:
        if self.used >= slots_for(offer.priority, self._slots):
            return f"{self.used} of {self._slots} slots are used"
        return self._load().refusal(offer.priority)

    def enter(self, call_id: CallId, epoch: int) -> Seat | None:
        """A seat for a media socket: the one reserved for it, also while draining, or a free one. None: no seat.

        One token opens any number of sockets while it lives; they may not fill the worker.
        """
        self._expire()
        key = (call_id, epoch)
        if self._live[key] >= SOCKETS_PER_EPOCH:
            return None
        reserved = self._reserved.pop(key, None)
        if reserved is None and (self.is_draining or self.used >= self._slots):
            return None
        self._live[key] += 1
        return Seat(call_id=call_id, epoch=epoch, plan=reserved.plan if reserved else None)

    def leave(self, seat: Seat) -> None:
        """Gives a seat back."""
        key = (seat.call_id, seat.epoch)
        self._live[key] -= 1
        if not self._live[key]:
            del self._live[key]

    def _expire(self) -> None:
        moment = self._clock_s()
        for key in [key for key, held in self._reserved.items() if held.expires_s <= moment]:
            del self._reserved[key]
