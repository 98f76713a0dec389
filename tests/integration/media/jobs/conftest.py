"""What jobs reach, in memory."""

from datetime import UTC, datetime

import pytest

from turncall_blobs import MemoryStore
from turncall_bus.memory import MemoryBus
from turncall_media.jobs.shape import Desk
from turncall_proto import subjects


@pytest.fixture
async def desk() -> Desk:
    """On a bus and a store of its own; keys are sealed in clear, and this machine may be asked."""
    bus = MemoryBus()
    await bus.prepare(subjects.STREAMS)
    return Desk(
        bus=bus,
        blobs=MemoryStore(),
        open_secret=lambda sealed: sealed,
        egress_allow=("127.0.0.0/8",),
        mcp_programs={},
        now=lambda: datetime.now(UTC),
    )
