"""Choosing a worker and offering it a call."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from turncall_bus.bus import NoAnswer
from turncall_bus.memory import MemoryBus
from turncall_control.calls.placement import needed_keys, place
from turncall_control.workers import Workers, watch
from turncall_proto import subjects
from turncall_proto.agent import AgentSpec, Cascade, Fallbacks, VendorRef
from turncall_proto.call import CallStart, Resume
from turncall_proto.codec import decode, encode
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId, WorkerId
from turncall_proto.placement import SUSPECT_AFTER_S, CallOffer, OfferReply, Priority, WorkerBeat, slots_for
from turncall_runtime.secret import Secret

AGENT = AgentSpec(
    pipeline=Cascade(stt=VendorRef(vendor="acme"), llm=VendorRef(vendor="acme"), tts=VendorRef(vendor="local"))
)
PLAN = CallStart(
    call_id=CallId("call_" + "a" * 32),
    project_id=ProjectId("prj_" + "b" * 32),
    epoch=1,
    agent_id=AgentId("agt_" + "c" * 32),
    version_id=VersionId("ver_" + "d" * 32),
    agent=AGENT,
    channel="phone",
    direction="inbound",
    from_number="+1",
    to_number="+2",
    provider="twilio",
    provider_call_id="CA",
    planned_at=datetime(2026, 11, 22, tzinfo=UTC),
)


class Clock:
    """Seconds that pass when told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def beat(worker: str, *, used: int = 0, total: int = 10, **more: Any) -> WorkerBeat:
    """A beat of the calls pool."""
    state = {"lag_ms": 1.0, "version": "1", "media_url": f"ws://{worker}", **more}
    return WorkerBeat(worker=WorkerId(worker), pool="calls", slots_total=total, slots_used=used, **state)


async def view(*beats: WorkerBeat) -> tuple[Workers, Clock]:
    """What control knows after these beats."""
    clock = Clock()
    workers = Workers(clock)
    for one in beats:
        await workers.heard("", encode(one))
    return workers, clock


async def test_the_freer_of_two_takes_the_call() -> None:
    """Of two workers the one with more free slots is chosen, whichever is drawn first."""
    workers, _ = await view(beat("w1", used=8), beat("w2", used=2))
    assert {workers.choose("calls").worker for _ in range(20)} == {"w2"}  # type: ignore[union-attr]


async def test_a_lagging_worker_is_the_second_choice() -> None:
    """A worker whose event loop lags gets a call only when there is no other."""
    workers, _ = await view(beat("w1", lag_ms=80.0), beat("w2", used=9))
    chosen = workers.choose("calls")
    assert chosen is not None
    assert chosen.worker == "w2"
    only = workers.choose("calls", without={WorkerId("w2")})
    assert only is not None
    assert only.worker == "w1"


async def test_two_lagging_workers_are_not_drawn_together() -> None:
    """While any other has room, no pair of lagging ones competes for a call."""
    workers, _ = await view(beat("w1", lag_ms=80.0), beat("w2", lag_ms=80.0), beat("w3", used=9))
    assert {workers.choose("calls").worker for _ in range(100)} == {"w3"}  # type: ignore[union-attr]


async def test_full_draining_silent_and_foreign_workers_get_nothing() -> None:
    """A worker without a slot, on its way out, or not heard of for 1.2 s is not chosen."""
    workers, clock = await view(beat("full", used=10), beat("leaving", is_draining=True), beat("alive"))
    assert {workers.choose("calls").worker for _ in range(20)} == {"alive"}  # type: ignore[union-attr]
    assert workers.choose("text") is None
    clock.now_s += SUSPECT_AFTER_S + 0.01
    assert workers.choose("calls") is None
    assert workers.alive("calls") == []


async def test_slots_taken_since_the_last_beat_count() -> None:
    """Calls that we have placed count until a beat shows them."""
    workers, _ = await view(beat("w1", total=2))
    workers.placed(WorkerId("w1"))
    workers.placed(WorkerId("w1"))
    assert workers.choose("calls") is None
    await workers.heard("", encode(beat("w1", used=1, total=2)))
    assert workers.choose("calls") is not None


async def test_an_overloaded_worker_is_offered_resumed_callers_alone_and_last() -> None:
    """Free slots do not help a worker that says it is overloaded; resumed callers go there before nowhere."""
    workers, _ = await view(beat("hot", is_overloaded=True), beat("cool", used=9))
    assert {workers.choose("calls").worker for _ in range(20)} == {"cool"}  # type: ignore[union-attr]
    assert {workers.choose("calls", priority="resumed").worker for _ in range(20)} == {"cool"}  # type: ignore[union-attr]
    without = {WorkerId("cool")}
    assert workers.choose("calls", without) is None
    last = workers.choose("calls", without, priority="resumed")
    assert last is not None
    assert last.worker == "hot"


@pytest.mark.parametrize(
    ("used", "taken"),
    [
        (15, {"batch", "outbound", "inbound", "resumed"}),
        (16, {"outbound", "inbound", "resumed"}),
        (18, {"inbound", "resumed"}),
        (19, {"resumed"}),
        (20, set()),
    ],
)
async def test_the_last_slots_go_by_priority(used: int, taken: set[Priority]) -> None:
    """Campaigns, calls by API and new callers each leave some slots to those before them."""
    workers, _ = await view(beat("w1", used=used, total=20))
    everybody: tuple[Priority, ...] = ("batch", "outbound", "inbound", "resumed")
    assert {priority for priority in everybody if workers.choose("calls", priority=priority)} == taken


def test_small_workers_keep_no_slot_back() -> None:
    """Below twenty slots a new caller may have the last one."""
    assert [slots_for("inbound", total) for total in (1, 4, 19, 20, 40)] == [1, 4, 19, 19, 38]


@pytest.mark.parametrize(
    ("changes", "priority"),
    [
        ({}, "inbound"),
        ({"direction": "outbound"}, "outbound"),
        (
            {
                "epoch": 2,
                "resume": Resume(from_epoch=1, from_worker=None, cause="drained", lost_at=PLAN.planned_at),
                "direction": "outbound",
            },
            "resumed",
        ),
    ],
)
async def test_the_offer_says_who_goes_first(changes: dict[str, Any], priority: Priority) -> None:
    """A plan that resumes, one of a caller, one that we dial: each is offered with its priority, unless it is given."""
    bus = MemoryBus()
    workers, _ = await view(beat("w1"))
    offers = await offering(bus, workers, w1="accepted")
    plan = replace(PLAN, **changes)
    await place(bus, workers, plan)
    await place(bus, workers, plan, "batch")
    assert [offer.priority for offer in offers] == [priority, "batch"]


async def test_a_malformed_beat_is_dropped() -> None:
    """Garbage on the beats' subject does not end the watching."""
    workers, _ = await view()
    await workers.heard("tc.v1.beat.calls.x", b"{")
    assert workers.alive("calls") == []


Answer = Callable[[bytes], Awaitable[bytes]]


async def offering(bus: MemoryBus, workers: Workers, **answers: str) -> list[CallOffer]:
    """Serves the offers of these workers; returns the list that fills with them."""
    offers: list[CallOffer] = []

    def answering(worker: str, word: str) -> Answer:
        async def answer(data: bytes) -> bytes:
            offers.append(decode(data, CallOffer))
            return encode(OfferReply(worker=WorkerId(worker), answer=word))  # type: ignore[arg-type]

        return answer

    for worker, word in answers.items():
        await workers.heard("", encode(beat(worker)))
        if word != "gone":
            await bus.serve(subjects.offer(WorkerId(worker)), answering(worker, word))
    return offers


@pytest.fixture
async def bus() -> Any:
    """A bus in memory."""
    made = MemoryBus()
    yield made
    await made.close()


async def test_a_worker_that_was_too_busy_to_answer_is_asked_again() -> None:
    """A burst of arrivals delays one answer: with nobody else left the caller is not put on hold for that."""
    workers, _ = await view(beat("w1"))
    asked: list[float] = []

    class Burst(MemoryBus):
        async def ask(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
            asked.append(timeout_s)
            if len(asked) == 1:
                raise NoAnswer("the worker is busy")
            return encode(OfferReply(worker=WorkerId("w1"), answer="accepted"))

    placed = await place(Burst(), workers, PLAN)
    assert placed is not None
    assert placed.plan.offered_to == "w1"
    assert len(asked) == 2


async def test_only_the_first_calls_wait_for_a_worker_that_died(bus: MemoryBus) -> None:
    """One unanswered offer, or one that nobody took, turns every later call to other workers until the next beat."""
    workers, _ = await view()
    offers = await offering(bus, workers, alive="accepted", gone="gone")
    for number in range(9):
        plan = replace(PLAN, call_id=CallId(f"call_{number:032}"))
        await workers.heard("", encode(beat("alive", used=8)))
        assert await place(bus, workers, plan) is not None
    assert workers.choose("calls", without={WorkerId("alive")}) is not None
    assert {workers.choose("calls").worker for _ in range(20)} == {"alive"}  # type: ignore[union-attr]
    assert len(offers) == 9
    await workers.heard("", encode(beat("gone")))
    assert {workers.choose("calls").worker for _ in range(20)} == {"gone"}  # type: ignore[union-attr]


async def test_the_worker_that_lost_the_call_is_the_last_to_be_offered_it(bus: MemoryBus) -> None:
    """It is passed over while anybody else has room, and asked when nobody has: its socket may be all that broke."""
    resume = Resume(from_epoch=1, from_worker=WorkerId("w1"), cause="socket_lost", lost_at=PLAN.planned_at)
    plan = replace(PLAN, epoch=2, resume=resume)
    workers, _ = await view()
    offers = await offering(bus, workers, w1="accepted", w2="accepted")
    await workers.heard("", encode(beat("w2", used=9)))
    first = await place(bus, workers, plan)
    workers.placed(WorkerId("w2"))
    second = await place(bus, workers, plan)
    assert first is not None
    assert second is not None
    assert [offer.plan.offered_to for offer in offers] == ["w2", "w1"]


async def test_an_offer_goes_on_until_somebody_accepts(bus: MemoryBus) -> None:
    """Workers that are full or gone cost a try each; the plan that was accepted names who accepted it."""
    workers, _ = await view()
    offers = await offering(bus, workers, w1="full", w2="draining", w3="gone", w4="accepted")
    placed = await place(bus, workers, PLAN)
    assert placed is not None
    assert (placed.plan.offered_to, placed.media_url) == ("w4", "ws://w4")
    assert offers[-1].plan == placed.plan
    assert all(offer.deadline > datetime.now(UTC) for offer in offers[-1:])


async def test_nobody_is_asked_twice(bus: MemoryBus) -> None:
    """When every worker has refused, the call is not placed."""
    workers, clock = await view()
    clock.now_s += SUSPECT_AFTER_S
    offers = await offering(bus, workers, w1="full", w2="unfit")
    assert await place(bus, workers, PLAN) is None
    assert sorted(str(offer.plan.offered_to) for offer in offers) == ["w1", "w2"]


async def test_a_view_that_was_just_opened_waits_for_the_first_beat(bus: MemoryBus) -> None:
    """A call that rings while control starts is placed as soon as a beat comes, and refused once none should be due."""
    workers, _ = await view()
    placing = asyncio.create_task(place(bus, workers, PLAN))
    await asyncio.sleep(0)
    await offering(bus, workers, w1="accepted")
    assert await placing is not None
    empty, clock = await view()
    clock.now_s += SUSPECT_AFTER_S
    assert await place(bus, empty, PLAN) is None


async def test_beats_come_over_the_bus(bus: MemoryBus) -> None:
    """A worker is known once its beat was heard."""
    workers = Workers()
    subscription = await watch(bus, workers)
    await bus.tell(subjects.beat("calls", WorkerId("w1")), encode(beat("w1")))
    async with asyncio.timeout(2):
        while not workers.alive("calls"):  # noqa: ASYNC110 - the bus hands over on the next turns of the loop
            await asyncio.sleep(0)
    await subscription.close()
    assert [known.worker for known in workers.alive("calls")] == ["w1"]


def every(agent: AgentSpec) -> list[VendorRef]:
    """Every vendor that may serve the agent."""
    return [ref for _, _, ref in agent.pipeline.places()]


def test_only_the_keys_that_the_agent_needs_travel() -> None:
    """Each vendor's key goes along, fallbacks included; other agents' vendors and those without a key stay out."""
    keys = {"acme": Secret("acme-key"), "other": Secret("other-key")}
    assert needed_keys(every(AGENT), keys) == {"acme": Secret("acme-key")}
    fallbacks = Fallbacks(tts=(VendorRef(vendor="other"),))
    agent = replace(AGENT, pipeline=replace(AGENT.pipeline, fallbacks=fallbacks))
    assert sorted(needed_keys(every(agent), keys)) == ["acme", "other"]
