"""The pool of jobs: it opens when there is a queue to take them from."""

import asyncio
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from turncall_bus.memory import MemoryBus
from turncall_media.workshop import Workshop
from turncall_proto.subjects import STREAMS
from turncall_testkit import virtual_time


def test_a_worker_that_is_up_before_the_queue_waits_for_it() -> None:
    """The control plane makes the streams; whichever process is first, the worker takes jobs in the end."""

    async def main() -> None:
        bus = MemoryBus(clock=asyncio.get_running_loop().time)
        desk: Any = SimpleNamespace(bus=bus)
        done = Counter("jobs", "Jobs.", ["kind", "fate"], registry=CollectorRegistry())
        workshop = Workshop(desk, 1, done)
        opening = asyncio.create_task(workshop.open())
        await asyncio.sleep(5)
        assert not opening.done()
        await bus.prepare(STREAMS)
        async with asyncio.timeout(2):
            await opening
        await workshop.close(1.0)

    virtual_time.run(main())
