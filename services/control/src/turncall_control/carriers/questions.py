"""Questions to carriers that this process has open, and when one that was refused for the moment is put again."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from turncall_runtime import logs

AT_ONCE: Final = 32
"""Questions of one kind that one process has open."""
AGAIN_AFTER_S: Final = (2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Between two tries of what the carrier refused for the moment, or could not be reached for."""
MOST_REFUSALS: Final = 8
"""Times that a carrier's limit may refuse before that is final; an unreachable carrier is waited for."""
LOOK_AFTER_S: Final = 2.0
"""How long after an answer was lost the carrier is first asked what became of it: its list lags behind."""
STATUS_RETRIES: Final = "rc=3&rp=ct,rt,5xx"
"""The fragment of a callback's address by which Twilio asks it again: on time-outs and our errors, three times."""

log = logs.logger(__name__)


class Questions:
    """The tasks that wait for a carrier's answer. ``asking`` is entered while they may be open.

    ``broke`` is the log's word for one that ended with an error of ours: its row says that it was asked, and whoever
    sweeps such rows finds out what became of it.
    """

    def __init__(self, broke: str) -> None:
        self._broke = broke
        self._open: set[asyncio.Task[None]] = set()

    @property
    def has_room(self) -> bool:
        """Whether more may be taken up."""
        return len(self._open) < AT_ONCE

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """At the end, open questions are given up: the next process finds out what became of them."""
        try:
            yield
        finally:
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    def put(self, question: Coroutine[Any, Any, None], name: str) -> None:
        """Begins to ask, and returns without waiting for the answer."""
        task = asyncio.create_task(question, name=name)
        self._open.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(self._broke, exc_info=error)


def pause_s(tries: int) -> float:
    """How long after so many tries the next one comes."""
    return AGAIN_AFTER_S[min(tries, len(AGAIN_AFTER_S)) - 1]
