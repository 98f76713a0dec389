"""/v1/workers: what the operator sees of the media workers, and draining one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from turncall_proto import ids, subjects
from turncall_proto.codec import decode, encode
from turncall_proto.command import CommandReply, DrainWorker
from turncall_proto.ids import WorkerId
from turncall_proto.placement import SUSPECT_AFTER_S, WorkerBeat


@pytest.fixture
async def bus(control):
    """The control plane's own connection, once it is there."""
    async with asyncio.timeout(10):
        while not control.plane.bus.is_connected:  # noqa: ASYNC110 - a connection of its own accord
            await asyncio.sleep(0.02)
    return control.plane.bus


async def heard(control, bus, **state) -> WorkerId:
    """A worker that control has heard once, in this state."""
    worker = WorkerId(ids.mint(ids.WORKER))
    beat = WorkerBeat(
        worker=worker,
        pool="calls",
        slots_total=20,
        **{"slots_used": 3, "lag_ms": 1.5, "version": "1.2.3", "media_url": "ws://10.0.0.1:8090"} | state,
    )
    async with asyncio.timeout(5):
        while worker not in {seen.worker for seen, _ in control.plane.workers.seen()}:
            await bus.tell(subjects.beat("calls", worker), encode(beat))
            await asyncio.sleep(0.05)
    return worker


async def shown(control, worker) -> dict:
    """The worker as the operator sees it."""
    items = (await control.operator.done("GET", "/v1/workers"))["items"]
    return next(item for item in items if item["id"] == worker)


async def test_the_operator_sees_what_beats_say(control, bus):
    """Slots, load, version and state of a worker are those of its last beat; one that stays silent is shown so."""
    worker = await heard(control, bus, is_draining=True, is_overloaded=True, cpu_share=0.9)
    seen = await shown(control, worker)
    assert 0 <= seen.pop("last_beat_s") < SUSPECT_AFTER_S
    assert seen == {
        "id": worker,
        "pool": "calls",
        "slots_total": 20,
        "slots_used": 3,
        "lag_ms": 1.5,
        "cpu_share": 0.9,
        "is_overloaded": True,
        "is_draining": True,
        "is_silent": False,
        "version": "1.2.3",
        "media_url": "ws://10.0.0.1:8090",
    }
    async with asyncio.timeout(5):
        while not (await shown(control, worker))["is_silent"]:  # noqa: ASYNC110 - silence is no event
            await asyncio.sleep(0.1)


@asynccontextmanager
async def obeying(bus, worker, outcome="done") -> AsyncIterator[list[DrainWorker]]:
    """A worker that answers what it is told; the list fills with that."""
    told: list[DrainWorker] = []

    async def answer(data: bytes) -> bytes:
        told.append(decode(data, DrainWorker))
        return encode(CommandReply(outcome=outcome))

    serving = await bus.serve(subjects.worker(worker), answer)
    await asyncio.sleep(0.05)
    yield told
    await serving.close()


@pytest.mark.parametrize("handover_after_s", [None, 2.5])
async def test_a_drain_reaches_the_worker_with_a_deadline(control, bus, handover_after_s):
    """The worker is told when its calls are to go on elsewhere, and until when the word is good."""
    worker = await heard(control, bus)
    async with obeying(bus, worker) as told:
        body = {} if handover_after_s is None else {"handover_after_s": handover_after_s}
        assert await control.operator.done("POST", f"/v1/workers/{worker}/drain", body) == {"worker": worker}
    (asked,) = told
    assert (asked.worker, asked.handover_after_s) == (worker, handover_after_s)
    assert 0 < (asked.deadline - datetime.now(UTC)).total_seconds() <= 2


async def test_a_worker_that_does_not_answer_is_unavailable(control, bus):
    """One that ended, or took the word too late, is a 503: nothing is known to have happened."""
    worker = await heard(control, bus)
    await control.operator.refused(503, "POST", f"/v1/workers/{worker}/drain", {})
    async with obeying(bus, worker, outcome="late"):
        await control.operator.refused(503, "POST", f"/v1/workers/{worker}/drain", {})


async def test_a_worker_that_nobody_heard_is_not_found(control):
    """An id that is malformed or of nobody is a 404."""
    for worker in (ids.mint(ids.WORKER), "wrk_1", ids.mint(ids.CALL)):
        await control.operator.refused(404, "POST", f"/v1/workers/{worker}/drain", {})


async def test_the_fleet_is_the_operators(control, tenant):
    """A project's key, an admin's too, sees no workers and drains none."""
    worker = WorkerId(ids.mint(ids.WORKER))
    await tenant.refused(401, "GET", "/v1/workers")
    await tenant.refused(401, "POST", f"/v1/workers/{worker}/drain", {})


@pytest.mark.parametrize("body", [{"handover_after_s": -1}, {"handover_after_s": 14_401}, {"handover_after_s": "1"}])
async def test_a_senseless_drain_is_refused_by_field(control, body):
    """Times that are negative, longer than any call or no numbers are named."""
    problem = await control.operator.refused(422, "POST", f"/v1/workers/{ids.mint(ids.WORKER)}/drain", body)
    assert [fault["field"] for fault in problem["errors"]] == ["handover_after_s"]
