"""Tasks that live as long as the worker does."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

from turncall_runtime import logs

_log = logs.logger(__name__)


def keep_running(
    stack: AsyncExitStack, name: str, work: Coroutine[None, None, None], on_death: Callable[[], None]
) -> None:
    """Runs ``work`` until ``stack`` closes. Should it fail before, the failure is logged and ``on_death`` called."""

    def done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task.died", task=name, exc_info=error)
            on_death()

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(done)

    async def stop() -> None:
        task.cancel()
        await asyncio.wait({task})

    stack.push_async_callback(stop)
