"""Facts of one epoch: numbered, held until the epoch is ours, cut honestly."""

import pytest
from prometheus_client import CollectorRegistry

from turncall_bus.memory import MemoryBus
from turncall_bus.spool import DiskFull
from turncall_media.counters import Counters
from turncall_media.report.live import WAITING, LiveFeed
from turncall_media.report.reporter import HELD_FACTS, KEPT_CHARS, EpochReporter
from turncall_media.seams import Outcome
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode_event, encode
from turncall_proto.events import (
    CallStarted,
    EpochClosed,
    EpochOpened,
    ToolCalled,
    ToolReturned,
    TranscriptFinal,
    VendorFailed,
)
from turncall_proto.subjects import MAX_MESSAGE_BYTES, live
from turncall_testkit import virtual_time

OVER = MAX_MESSAGE_BYTES + 1
DONE = Outcome(state=CallState.COMPLETED, reason=EndedReason.CUSTOMER_ENDED_CALL)


class Desk:
    """A reporter and where its facts and news go."""

    def __init__(self, plan) -> None:
        self.spooled = []
        self.disk_is_full = False
        self.bus = MemoryBus()
        self.registry = CollectorRegistry()
        self.counters = Counters(self.registry)
        self.feed = LiveFeed(self.bus, self.counters)
        self.reporter = EpochReporter(plan, self.append, self.feed, lambda: plan.planned_at, self.counters)

    def append(self, fact) -> None:
        if self.disk_is_full:
            raise DiskFull("no room")
        self.spooled.append(fact)

    def count(self, fate: str, name: str = "facts") -> float:
        return self.registry.get_sample_value(f"turncall_media_{name}_total", {"fate": fate}) or 0.0


@pytest.fixture
def desk(a_plan):
    """A reporter whose epoch is ours from the start."""
    made = Desk(a_plan())
    made.reporter.release()
    return made


def test_numbers_have_no_gaps(desk, a_plan):
    """Opened is 1, each fact adds one, closed is last; all carry the call's header."""
    desk.reporter.open("wrk_1", 4)
    desk.reporter.report(CallStarted, setup_ms=3)
    desk.reporter.close(DONE)
    assert [(type(fact), fact.seq) for fact in desk.spooled] == [(EpochOpened, 1), (CallStarted, 2), (EpochClosed, 3)]
    plan = a_plan()
    assert {(fact.call_id, fact.project_id, fact.epoch, fact.at) for fact in desk.spooled} == {
        (plan.call_id, plan.project_id, plan.epoch, plan.planned_at)
    }
    assert desk.spooled[0].previous_seq == 4


def test_nothing_comes_after_the_last_fact(desk):
    """What is reported after `close` is dropped and counted; a second close changes nothing."""
    desk.reporter.close(DONE)
    desk.reporter.report(CallStarted, setup_ms=3)
    desk.reporter.close(DONE)
    assert [type(fact) for fact in desk.spooled] == [EpochClosed]
    assert desk.count("after_the_end") == 1


def test_facts_wait_until_the_epoch_is_ours(a_plan):
    """Before `release` nothing reaches the spool; then all of it does, in order, and later facts go straight there."""
    desk = Desk(a_plan())
    desk.reporter.open("wrk_1", 0)
    desk.reporter.report(CallStarted, setup_ms=3)
    assert desk.spooled == []
    desk.reporter.release()
    desk.reporter.report(CallStarted, setup_ms=4)
    desk.reporter.release()
    assert [fact.seq for fact in desk.spooled] == [1, 2, 3]


def test_facts_of_a_lost_epoch_are_never_stated(a_plan):
    """After `discard` neither what was held nor anything later reaches the spool, closing included."""
    desk = Desk(a_plan())
    desk.reporter.open("wrk_1", 0)
    desk.reporter.discard()
    desk.reporter.report(CallStarted, setup_ms=3)
    desk.reporter.close(DONE)
    desk.reporter.release()
    assert desk.spooled == []


def test_a_tools_output_over_the_limit_is_cut_and_says_so(desk):
    """The record keeps the head, the true size and a mark, and fits the bus."""
    output = {"rows": ["x" * 1000] * 300}
    desk.reporter.report(ToolReturned, tool_call_id="t1", tool="orders", is_ok=True, output=output, latency_ms=5)
    (fact,) = desk.spooled
    assert fact.output["is_truncated"] is True
    assert fact.output["size_bytes"] > 300_000
    assert fact.output["head"].startswith('{"rows":["xxx')
    assert len(fact.output["head"]) == KEPT_CHARS
    assert decode_event(encode(fact)) == fact


def test_arguments_and_details_over_the_limit_are_cut_too(desk):
    """A model's arguments stay an object, a vendor's words stay text."""
    desk.reporter.report(ToolCalled, tool_call_id="t1", tool="orders", arguments={"a": "ö" * OVER}, turn=1)
    desk.reporter.report(VendorFailed, kind="llm", vendor="acme", detail="e" * OVER, is_fatal=False)
    called, failed = desk.spooled
    assert called.arguments["is_truncated"] is True
    assert failed.detail.endswith(f"(cut from {OVER} characters)")
    assert desk.count("cut") == 2


def test_words_are_never_cut(desk):
    """An utterance that the bus cannot carry is counted as lost, and takes no number that would look like a hole."""
    desk.reporter.report(TranscriptFinal, speaker="caller", text="a" * OVER, start_ms=0, end_ms=1, turn=1)
    desk.reporter.report(CallStarted, setup_ms=3)
    assert [(type(fact), fact.seq) for fact in desk.spooled] == [(CallStarted, 1)]
    assert desk.count("too_large") == 1


def test_a_full_disk_delays_facts_and_keeps_their_order(desk):
    """Reporting does not raise; with room again, what waited is written before what is new."""
    desk.disk_is_full = True
    desk.reporter.report(CallStarted, setup_ms=3)
    assert desk.spooled == []
    desk.disk_is_full = False
    desk.reporter.report(CallStarted, setup_ms=4)
    assert [(fact.seq, fact.setup_ms) for fact in desk.spooled] == [(1, 3), (2, 4)]


def test_a_disk_that_stays_full_loses_facts_in_the_open(desk):
    """What could not be written by the end of the epoch is counted, the last fact included."""
    desk.disk_is_full = True
    desk.reporter.report(CallStarted, setup_ms=3)
    desk.reporter.close(DONE)
    assert desk.count("disk_full") == 2


def test_memory_is_bounded_while_the_disk_is_full(desk):
    """Facts beyond `HELD_FACTS` are lost and take no number, so that those after them fit."""
    desk.disk_is_full = True
    for _ in range(HELD_FACTS + 1):
        desk.reporter.report(CallStarted, setup_ms=3)
    desk.disk_is_full = False
    desk.reporter.release()
    desk.reporter.report(CallStarted, setup_ms=4)
    assert desk.spooled[-1].seq == HELD_FACTS + 1
    assert desk.count("no_room") == 1


def test_whispers_reach_live_feeds(a_plan):
    """A partial transcript travels on the call's live subject, outside the numbered facts."""

    async def main() -> None:
        import asyncio

        plan = a_plan()
        desk = Desk(plan)
        heard: list[bytes] = []

        async def hear(_: str, data: bytes) -> None:
            heard.append(data)

        await desk.bus.hear(live(plan.project_id, plan.call_id), hear)
        feeding = asyncio.create_task(desk.feed.run())
        desk.reporter.whisper(DONE)
        await asyncio.sleep(0.01)
        assert heard == [encode(DONE)]
        desk.bus.go_away()
        desk.reporter.whisper(DONE)
        await asyncio.sleep(0.01)
        assert desk.count("away", "whispers") == 1
        desk.bus.come_back()
        await asyncio.sleep(5)
        assert len(heard) == 1
        feeding.cancel()

    virtual_time.run(main())


def test_whispers_are_bounded(desk):
    """With nobody to take them, whispers beyond the queue are dropped, not kept."""
    for _ in range(WAITING + 5):
        desk.reporter.whisper(DONE)
    assert desk.count("crowded_out", "whispers") == 5
