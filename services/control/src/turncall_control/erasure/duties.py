"""What a process erases beside the requests: deleted projects, and what has been kept for its time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from turncall_control.calls import erasing
from turncall_control.duty import repeated
from turncall_control.erasure import purge, retention
from turncall_control.plane import Plane

EMPTY_EVERY_S: Final = 2.0
KEEP_EVERY_S: Final = 300.0


@asynccontextmanager
async def empty_projects(plane: Plane) -> AsyncIterator[None]:
    """Releases the numbers of deleted projects, ends their calls, and purges those whose time has come."""
    async with repeated("deleted_projects", lambda: purge.sweep(plane), EMPTY_EVERY_S):
        yield


@asynccontextmanager
async def keep_no_longer(plane: Plane) -> AsyncIterator[None]:
    """Erases what their projects do not keep any longer, and forgets what was erased long ago."""

    async def sweep() -> None:
        await retention.sweep(plane.database.pool, plane.blobs)
        await erasing.sweep(plane.database.pool, plane.blobs, plane.bus)

    async with repeated("retention", sweep, KEEP_EVERY_S):
        yield
