"""A worker process told to end, and one whose bus goes away."""

import asyncio
import re
import signal
from datetime import UTC, datetime, timedelta

import pytest

from turncall_proto import subjects
from turncall_proto.codec import decode, encode
from turncall_proto.command import CommandReply, DrainWorker
from turncall_proto.events import EpochClosed, EpochOpened


async def test_drain(a_process, a_plan, carrier, control):
    """SIGTERM: the beat says so at once, nothing new gets in, the live call lasts until its caller hangs up, exit 0."""
    plan = a_plan()
    async with a_process() as child:
        beat = await control.beat(lambda beat: True)
        assert await control.offer(beat.worker, plan) == "accepted"
        async with carrier.stream(child.port, plan) as stream:
            await control.facts(plan, 1)
            draining = asyncio.create_task(control.beat(lambda beat: beat.is_draining, within_s=20))
            await asyncio.sleep(0.05)
            child.tell(signal.SIGTERM)
            assert (await draining).slots_used == 1
            assert await control.offer(beat.worker, a_plan()) == "draining"
            assert await asyncio.to_thread(child.page, "/ready") == 503
            assert await asyncio.to_thread(child.page, "/health") == 200
            async with carrier.socket(child.port, carrier.path(a_plan())) as late:
                assert await carrier.closed_with(late) == 1012
            assert stream.close_code is None
            await carrier.hang_up(stream)
        assert await child.ended(within_s=20) == 0
        assert [type(fact) for fact in await control.facts(plan, 2)] == [EpochOpened, EpochClosed]
        written = child.log.read_text()
    assert "worker.draining" in written
    assert carrier.path(plan).rpartition("/")[2] not in written
    assert plan.from_number not in written


async def test_a_drain_that_the_operator_asks_for(a_process, a_plan, carrier, control):
    """A word over the bus does what SIGTERM does, hands calls over when it says so, and the process ends with 0."""
    plan = a_plan()
    async with a_process(drain_s=1.0) as child:
        worker = (await control.beat(lambda beat: True)).worker
        assert await control.offer(worker, plan) == "accepted"
        async with carrier.stream(child.port, plan) as stream:
            await control.facts(plan, 1)
            assert await drained(control, worker, age_s=5) == "late"
            assert not (await control.beat(lambda beat: True)).is_draining
            assert await drained(control, worker, handover_after_s=0.2) == "done"
            assert await control.offer(worker, a_plan()) == "draining"
            assert await drained(control, worker) == "done", "a repeat is answered alike"
            assert await carrier.closed_with(stream) == 1012
        assert await child.ended(within_s=20) == 0
        closed = (await control.facts(plan, 2))[-1]
        written = child.log.read_text()
    assert re.search(r"handover_after_s\W+0\.2\b", written)
    assert (closed.state, closed.reason) == (None, None), "the call goes on elsewhere"


async def drained(control, worker, *, age_s=0.0, handover_after_s=None) -> str:
    """What the worker says to a drain."""
    deadline = datetime.now(UTC) + timedelta(seconds=2 - age_s)
    asked = DrainWorker(worker=worker, deadline=deadline, handover_after_s=handover_after_s)
    return decode(await control.bus.ask(subjects.worker(worker), encode(asked), timeout_s=2), CommandReply).outcome


async def test_a_drain_that_takes_too_long(a_worker, a_plan, carrier, control):
    """Calls that outlast the drain go on elsewhere: no state, nobody hangs up, and a close that the carrier asks
    about."""
    plan = a_plan()
    await control.publish(plan)
    async with a_worker(handover_after_s=0.1, drain_s=0.2) as worker, carrier.stream(worker.port, plan) as stream:
        await control.facts(plan, 1)
        async with asyncio.timeout(5):
            await worker.drain()
            assert await carrier.closed_with(stream) == 1012
        closed = (await control.facts(plan, 2))[-1]
    assert (closed.state, closed.reason) == (None, None)
    assert control.hang_ups == []


async def test_stop_at_once(a_process, a_plan, carrier, control):
    """SIGINT ends a process with a live call within seconds, and the call goes on elsewhere."""
    plan = a_plan()
    await control.publish(plan)
    async with a_process() as child:
        async with carrier.stream(child.port, plan) as stream:
            await control.facts(plan, 1)
            child.tell(signal.SIGINT)
            assert await carrier.closed_with(stream) == 1012
        await child.ended(within_s=20)
    closed = (await control.facts(plan, 2))[-1]
    assert isinstance(closed, EpochClosed)
    assert (closed.state, closed.reason) == (None, None)


async def test_a_bus_that_dies_during_a_call(a_worker, a_plan, carrier, private_stack, control_of):
    """The call does not notice; what happened meanwhile is on the stream when the bus is back."""
    plan = a_plan()
    async with control_of(private_stack.urls.nats_url) as control:
        await control.publish(plan)
        async with a_worker(nats_url=private_stack.urls.nats_url) as worker:
            async with carrier.stream(worker.port, plan) as stream:
                await control.facts(plan, 1)
                await private_stack.nats.kill()
                await asyncio.sleep(0.3)
                assert stream.close_code is None
                await carrier.hang_up(stream)
            await private_stack.nats.start()
            opened, closed = await control.facts(plan, 2, within_s=10)
    assert isinstance(opened, EpochOpened)
    assert isinstance(closed, EpochClosed)


@pytest.mark.parametrize("name", ["TURNCALL_SEAL_PRIVATE_KEYS", "TURNCALL_STREAM_KEYS"])
async def test_a_malformed_key_stops_the_start(a_worker, name):
    """Not the first call, but the start of the process fails."""
    with pytest.raises(Exception, match="key"):
        async with a_worker(**{name.removeprefix("TURNCALL_").lower(): "nonsense"}):
            pass
