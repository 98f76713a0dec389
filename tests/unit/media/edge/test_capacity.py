"""Slots: what is offered, reserved, taken and given back."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from turncall_media.counters import Counters
from turncall_media.ingress.capacity import Capacity
from turncall_media.ingress.load import CpuShare, Load
from turncall_proto.call import CallStart
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.ids import CallId, WorkerId
from turncall_proto.placement import HOLD_SLOT_S, CallOffer, OfferReply

CALM = Load(max_lag_ms=100, max_cpu_share=0.85)


class Clock:
    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def capacity(clock: Clock, a_plan) -> Capacity:
    noon = a_plan().planned_at
    return Capacity(
        worker=WorkerId("wrk_1"),
        slots=2,
        unfit=lambda plan: "no vendor acme here" if plan.provider == "acme" else None,
        load=lambda: CALM,
        clock_s=clock,
        now=lambda: noon + timedelta(seconds=clock.at_s - 100),
        counters=Counters(CollectorRegistry()),
    )


@pytest.fixture
def offer(a_plan, clock: Clock):
    def make(call: str = "call_1", *, within_s: float = 0.15, **fields: object) -> CallOffer:
        plan: CallStart = a_plan(call_id=CallId(call), **fields)
        deadline = plan.planned_at + timedelta(seconds=clock.at_s - 100 + within_s)
        return CallOffer(plan=plan, deadline=deadline)

    return make


def test_an_accepted_offer_holds_a_slot_and_its_plan(capacity, offer):
    """A socket that comes for an accepted offer finds the plan and uses the slot that was held."""
    assert capacity.consider(offer()).answer == "accepted"
    assert capacity.used == 1
    seat = capacity.enter(CallId("call_1"), 1)
    assert seat is not None
    assert seat.plan is not None
    assert seat.plan.call_id == "call_1"
    assert capacity.used == 1
    capacity.leave(seat)
    assert capacity.used == 0


def test_a_reservation_runs_out(capacity, offer, clock):
    """A slot that no socket came for is free again after `HOLD_SLOT_S`, and its plan is forgotten."""
    capacity.consider(offer())
    clock.at_s += HOLD_SLOT_S - 0.001
    assert capacity.used == 1
    clock.at_s += 0.001
    assert capacity.used == 0
    seat = capacity.enter(CallId("call_1"), 1)
    assert seat is not None
    assert seat.plan is None


def test_a_full_worker_refuses(capacity, offer):
    """Live and reserved slots count alike; an offer and a socket beyond them get nothing."""
    assert capacity.consider(offer("call_1")).answer == "accepted"
    assert capacity.enter(CallId("call_2"), 1) is not None
    assert capacity.consider(offer("call_3")).answer == "full"
    assert capacity.enter(CallId("call_3"), 1) is None
    assert capacity.used == 2


def test_a_full_worker_seats_the_call_it_promised_to_take(capacity, offer):
    """The last slot, reserved, serves the socket it was reserved for."""
    capacity.consider(offer("call_1"))
    capacity.consider(offer("call_2"))
    assert capacity.enter(CallId("call_2"), 1) is not None


def test_a_repeated_offer_holds_one_slot(capacity, offer, clock):
    """Control repeats an offer whose answer was lost: one slot, held anew."""
    capacity.consider(offer())
    clock.at_s += 9
    assert capacity.consider(offer()).answer == "accepted"
    assert capacity.used == 1
    clock.at_s += 9
    assert capacity.used == 1


def test_a_late_offer_reserves_nothing(capacity, offer):
    """Past its deadline nobody waits for the answer, so no slot may be held for it."""
    assert capacity.consider(offer(within_s=0.0)).answer == "late"
    assert capacity.used == 0


def test_a_draining_worker_refuses_offers_and_strangers_but_keeps_its_word(capacity, offer):
    """Draining: no new offers, no sockets that were offered elsewhere, yes to the one that was accepted before."""
    capacity.consider(offer("call_1"))
    capacity.is_draining = True
    assert capacity.consider(offer("call_2")).answer == "draining"
    assert capacity.enter(CallId("call_2"), 1) is None
    assert capacity.enter(CallId("call_1"), 1) is not None


def test_an_unfit_plan_is_refused_with_its_reason(capacity, offer):
    """A worker without a vendor says so, in words for the person on call."""
    reply = capacity.consider(offer(provider="acme"))
    assert (reply.answer, reply.detail) == ("unfit", "no vendor acme here")
    assert capacity.used == 0


def test_two_sockets_of_one_epoch_take_two_seats(capacity):
    """Until one of them has started, both cost a slot; leaving gives back one each."""
    first, second = (capacity.enter(CallId("call_1"), 1) for _ in range(2))
    assert first is not None
    assert second is not None
    assert capacity.used == 2
    capacity.leave(first)
    assert capacity.used == 1
    capacity.leave(second)
    assert capacity.used == 0


def test_one_token_cannot_fill_a_worker(clock, a_plan):
    """Of many sockets for one epoch two get seats, however many slots are free."""
    noon = a_plan().planned_at
    roomy = Capacity(
        worker=WorkerId("wrk_1"),
        slots=10,
        unfit=lambda plan: None,
        load=lambda: CALM,
        clock_s=clock,
        now=lambda: noon,
        counters=Counters(CollectorRegistry()),
    )
    seats = [roomy.enter(CallId("call_1"), 1) for _ in range(5)]
    assert [seat is not None for seat in seats] == [True, True, False, False, False]
    assert roomy.used == 2
    assert roomy.enter(CallId("call_2"), 1) is not None


async def test_offers_are_answered_off_the_bus(capacity, offer):
    """Bytes in, bytes out; bytes that are no offer get no answer."""
    reply = decode(await capacity.answer(encode(offer())), OfferReply)
    assert reply == OfferReply(worker=WorkerId("wrk_1"), answer="accepted")
    with pytest.raises(MalformedMessage):
        await capacity.answer(b'{"type":"offer"}')


@pytest.fixture
def answers(clock, a_plan, offer):
    """What a worker of 100 slots says to one offer of each priority, under a load and with slots in use."""

    def ask(load: Load, used: int, priority: str) -> str:
        capacity = Capacity(
            worker=WorkerId("wrk_1"),
            slots=100,
            unfit=lambda plan: None,
            load=lambda: load,
            clock_s=clock,
            now=lambda: a_plan().planned_at,
            counters=Counters(CollectorRegistry()),
        )
        for number in range(used):
            assert capacity.enter(CallId(f"call_{number}"), 1) is not None
        return capacity.consider(replace(offer("call_new"), priority=priority)).answer

    def asked(load: Load = CALM, used: int = 0) -> set[str]:
        return {
            priority
            for priority in ("batch", "outbound", "inbound", "resumed")
            if ask(load, used, priority) == "accepted"
        }

    return asked


@pytest.mark.parametrize(
    ("used", "taken"),
    [
        (79, {"batch", "outbound", "inbound", "resumed"}),
        (80, {"outbound", "inbound", "resumed"}),
        (90, {"inbound", "resumed"}),
        (95, {"resumed"}),
        (100, set()),
    ],
)
def test_the_last_slots_are_kept_for_those_who_go_first(answers, used, taken):
    """Campaigns fill four fifths of a worker, calls by API nine tenths; the last twentieth waits for resumed ones."""
    assert answers(used=used) == taken


@pytest.mark.parametrize(
    ("lag_ms", "cpu_share", "taken"),
    [
        (100, 0.85, {"batch", "outbound", "inbound", "resumed"}),
        (101, 0.1, {"resumed"}),
        (1, 0.86, {"resumed"}),
        (201, 0.1, set()),
    ],
)
def test_an_overloaded_worker_takes_nobody_new(answers, lag_ms, cpu_share, taken):
    """Free slots do not count on a loop that lags or a core that is used up; resumed callers are taken for longer."""
    assert answers(Load(lag_ms=lag_ms, cpu_share=cpu_share, max_lag_ms=100, max_cpu_share=0.85)) == taken


def test_what_was_reserved_is_kept_under_load(clock, a_plan, offer):
    """The load that comes between offer and socket takes no seat away, and a repeated offer is still accepted."""
    load = CALM
    capacity = Capacity(
        worker=WorkerId("wrk_1"),
        slots=2,
        unfit=lambda plan: None,
        load=lambda: load,
        clock_s=clock,
        now=lambda: a_plan().planned_at,
        counters=Counters(CollectorRegistry()),
    )
    assert capacity.consider(offer()).answer == "accepted"
    load = Load(lag_ms=5000, max_lag_ms=100, max_cpu_share=0.85)
    assert capacity.consider(offer()).answer == "accepted"
    assert capacity.enter(CallId("call_1"), 1) is not None
    refusal = capacity.consider(offer("call_2"))
    assert (refusal.answer, refusal.detail) == ("full", "the event loop lags by 5000 ms")


def test_cpu_is_measured_over_the_last_seconds():
    """The share of one core over five seconds; nothing is said of the first."""
    spent = Clock()
    passed = Clock()
    share = CpuShare(spent_s=spent, clock_s=passed)
    seen = []
    for step in range(40):
        passed.at_s += 0.5
        spent.at_s += 0.4 if step < 20 else 0.1
        seen.append(share.read())
    assert seen[0] == 0
    assert seen[10] == pytest.approx(0.8)
    assert seen[-1] == pytest.approx(0.2), "what was long ago does not count"
