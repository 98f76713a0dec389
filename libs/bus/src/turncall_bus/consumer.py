"""The loop of a durable consumer: batches, retries one by one, back-off, and poison set aside."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from turncall_bus.backoff import pause_s
from turncall_bus.bus import BusError, Delivered
from turncall_bus.handlers import finish, where
from turncall_bus.trials import FIRST_PAUSE_S, OUTAGE_PAUSE_S, Park, Source, Trials

STRAIGHT_FAILURES: Final = 3
"""So many failures without one success, and the rest of a batch is put back untried: the handler is down."""

_log = logging.getLogger(__name__)

type Handle = Callable[[Sequence[Delivered]], Awaitable[None]]


class Consumer:
    """Runs one durable consumer until closed."""

    def __init__(
        self, source: Source, handle: Handle, park: Park, *, name: str, batch: int, wait_s: float, park_after: int
    ) -> None:
        self._source = source
        self._handle = handle
        self._trials = Trials(source, park, name=name, park_after=park_after)
        self._name = name
        self._batch = batch
        self._wait_s = wait_s
        self._is_handling = False
        self._is_closed = False
        self._task = asyncio.create_task(self._run(), name=f"consume {name}")

    async def close(self) -> None:
        """Stops pulling, waits for the batch in hand, gives back the rest. Safe to call twice."""
        self._is_closed = True
        if not self._is_handling:
            self._task.cancel()
        await finish({self._task})

    async def _run(self) -> None:
        barren = 0
        try:
            while not self._is_closed:
                try:
                    is_barren = await self._round()
                except BusError as error:
                    is_barren = True
                    _log.warning("bus: consumer %s waits: %s", self._name, error)
                except Exception as error:  # noqa: BLE001 - the boundary of the task: it must not end in silence
                    is_barren = True
                    _log.error("bus: consumer %s stumbled: %s", self._name, where(error))
                barren = barren + 1 if is_barren else 0
                if is_barren and not self._is_closed:
                    await asyncio.sleep(pause_s(barren, first_s=FIRST_PAUSE_S, most_s=OUTAGE_PAUSE_S))
        finally:
            await self._source.close()

    async def _round(self) -> bool:
        """One batch from pull to ack. True when new messages came and nothing went through. Raises `BusError`.

        A round of nothing but old failures is not barren: each of them has its own delay, and new messages, which may
        well go through, must not wait for them.
        """
        messages = await self._source.pull(self._batch, self._wait_s)
        before = self._trials.successes
        fresh = [message for message in messages if message not in self._trials]
        known = [message for message in messages if message in self._trials]
        self._is_handling = True
        try:
            await self._work_off(fresh, known)
        finally:
            self._is_handling = False
        return bool(fresh) and self._trials.successes == before

    async def _work_off(self, fresh: list[Delivered], known: list[Delivered]) -> None:
        before = self._trials.successes
        failed: list[tuple[Delivered, Exception]] = []
        alone = known
        if len(fresh) > 1:
            error = await self._try(fresh)
            if error is not None:
                _log.warning("bus: consumer %s: batch of %d failed: %s", self._name, len(fresh), where(error))
                alone = fresh + known
        else:
            alone = fresh + known
        for index, message in enumerate(alone):
            if self._trials.successes == before and len(failed) >= STRAIGHT_FAILURES:
                await self._put_back(alone[index:])
                break
            error = await self._try([message])
            if error is not None:
                failed.append((message, error))
        for message, error in failed:
            await self._trials.failed(message, error, before)

    async def _try(self, messages: list[Delivered]) -> Exception | None:
        """Handles and acks, or returns the error."""
        try:
            await self._handle(messages)
        except Exception as error:  # noqa: BLE001 - the boundary of one batch: whatever it raised, it comes again
            return error
        self._trials.successes += 1
        for message in messages:
            await self._trials.passed(message)
        return None

    async def _put_back(self, messages: list[Delivered]) -> None:
        for message in messages:
            await self._source.again(message, pause_s(1, first_s=FIRST_PAUSE_S, most_s=OUTAGE_PAUSE_S))
