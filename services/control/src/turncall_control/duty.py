"""Work that a process repeats beside its requests, for as long as it runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from turncall_control.db import failures
from turncall_runtime import logs

log = logs.logger(__name__)


@asynccontextmanager
async def repeated(
    duty: str,
    work: Callable[[], Awaitable[None]],
    every_s: float,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Does ``work`` again and again, every ``every_s`` or as soon as ``wait`` returns, until the end."""

    async def repeat() -> None:
        is_waiting = False
        while True:
            try:
                await work()
                is_waiting = False
            except Exception as error:
                if not (isinstance(error, failures.FAILURES) and failures.is_away(error)):
                    log.error("duty.failed", duty=duty, exc_info=error)
                elif not is_waiting:
                    is_waiting = True
                    log.warning("duty.waits", duty=duty, error=str(error))
            await wait(every_s)

    task = asyncio.create_task(repeat(), name=duty)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
