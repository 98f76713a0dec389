"""The loop of a durable consumer: batches, retries one by one, back-off, and poison set aside."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from turncall_bus.backoff import pause_s
from turncall_bus.bus import Bus, BusError, Delivered, Parked
from turncall_bus.handlers import finish, where
from turncall_proto import subjects

FIRST_PAUSE_S: Final = 0.1
OUTAGE_PAUSE_S: Final = 5.0
"""The longest wait while nothing goes through: how late a recovered handler is noticed."""
POISON_PAUSE_S: Final = 30.0
"""The longest wait between two tries of a message that fails while others go through."""
STRAIGHT_FAILURES: Final = 3
"""So many failures without one success, and the rest of a batch is put back untried: the handler is down."""
TRIALS_KEPT: Final = 4096

_log = logging.getLogger(__name__)

type Handle = Callable[[Sequence[Delivered]], Awaitable[None]]
type Park = Callable[[Delivered, str], Awaitable[None]]


def parking(bus: Bus, stream: str, durable: str) -> Park:
    """What stores a poison message and its error in the dead stream as a `Parked`. It raises `BusError`."""

    async def park(message: Delivered, error: str) -> None:
        parked = Parked(
            stream=stream,
            durable=durable,
            subject=message.subject,
            stream_seq=message.stream_seq,
            error=error,
            data=message.data,
            parked_at=datetime.now(UTC),
        )
        message_id = f"{stream}.{durable}.{message.stream_seq}"
        # In base64 the largest message is 350 kB: more than others may be, less than the server's megabyte.
        await bus.publish(subjects.dead(stream), msgspec.json.encode(parked), message_id=message_id)

    return park


class Source(Protocol):
    """Where a consumer's messages come from and go back to. Lost acks are no error: the message comes again."""

    async def pull(self, batch: int, wait_s: float) -> list[Delivered]:
        """At least one message, then as many of ``batch`` as come within ``wait_s``; waits while away.

        Raises `BusError` when the server has no such consumer and makes none.
        """
        ...

    async def ack(self, message: Delivered) -> None:
        """Done with it for good."""
        ...

    async def again(self, message: Delivered, delay_s: float) -> None:
        """Deliver it once more, not before ``delay_s``."""
        ...

    async def close(self) -> None:
        """Gives back what was pulled and not acked."""
        ...


@dataclass(slots=True)
class Trial:
    """A message that failed on its own: ``tries`` in all, of which ``failures`` speak against the message itself."""

    successes_before: int
    tries: int = 0
    failures: int = 0


class Consumer:
    """Runs one durable consumer until closed.

    A failure counts against a message only when something else went through since it first failed. While nothing goes
    through it is the handler that is broken (its database is away, say), and then messages wait; they are not parked.
    """

    def __init__(
        self, source: Source, handle: Handle, park: Park, *, name: str, batch: int, wait_s: float, park_after: int
    ) -> None:
        self._source = source
        self._handle = handle
        self._park = park
        self._name = name
        self._batch = batch
        self._wait_s = wait_s
        self._park_after = park_after
        self._trials: dict[int, Trial] = {}
        self._successes = 0
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
        before = self._successes
        fresh = [message for message in messages if message.stream_seq not in self._trials]
        known = [message for message in messages if message.stream_seq in self._trials]
        self._is_handling = True
        try:
            await self._work_off(fresh, known)
        finally:
            self._is_handling = False
        return bool(fresh) and self._successes == before

    async def _work_off(self, fresh: list[Delivered], known: list[Delivered]) -> None:
        before = self._successes
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
            if self._successes == before and len(failed) >= STRAIGHT_FAILURES:
                await self._put_back(alone[index:])
                break
            error = await self._try([message])
            if error is not None:
                failed.append((message, error))
        for message, error in failed:
            await self._judge(message, error, before)

    async def _try(self, messages: list[Delivered]) -> Exception | None:
        """Handles and acks, or returns the error."""
        try:
            await self._handle(messages)
        except Exception as error:  # noqa: BLE001 - the boundary of one batch: whatever it raised, it comes again
            return error
        self._successes += 1
        for message in messages:
            self._trials.pop(message.stream_seq, None)
            await self._source.ack(message)
        return None

    async def _judge(self, message: Delivered, error: Exception, before: int) -> None:
        """Sends a message that failed on its own back for later, or parks it when it failed often enough."""
        trial = self._trials.setdefault(message.stream_seq, Trial(successes_before=before))
        trial.tries += 1
        is_poison = self._successes > trial.successes_before
        trial.failures += is_poison
        if trial.failures >= self._park_after and await self._parked(message, error):
            return
        most_s = POISON_PAUSE_S if is_poison else OUTAGE_PAUSE_S
        _log.warning(
            "bus: consumer %s: message %d on %s failed alone, try %d: %s",
            self._name,
            message.stream_seq,
            message.subject,
            trial.tries,
            where(error),
        )
        await self._source.again(message, pause_s(trial.tries, first_s=FIRST_PAUSE_S, most_s=most_s))
        while len(self._trials) > TRIALS_KEPT:
            del self._trials[next(iter(self._trials))]

    async def _parked(self, message: Delivered, error: Exception) -> bool:
        try:
            await self._park(message, f"{type(error).__name__}: {error}")
        except BusError as refusal:
            _log.error("bus: consumer %s cannot park message %d: %s", self._name, message.stream_seq, refusal)
            return False
        _log.error("bus: consumer %s parked message %d: %s", self._name, message.stream_seq, where(error))
        del self._trials[message.stream_seq]
        await self._source.ack(message)
        return True

    async def _put_back(self, messages: list[Delivered]) -> None:
        for message in messages:
            await self._source.again(message, pause_s(1, first_s=FIRST_PAUSE_S, most_s=OUTAGE_PAUSE_S))
