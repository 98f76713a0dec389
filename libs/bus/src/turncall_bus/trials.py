"""Messages that failed: when each is tried again, and when it is poison and is set aside."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from turncall_bus.backoff import pause_s
from turncall_bus.bus import Bus, BusError, Delivered, Parked
from turncall_bus.handlers import where
from turncall_proto import subjects

FIRST_PAUSE_S: Final = 0.1
OUTAGE_PAUSE_S: Final = 5.0
"""The longest wait while nothing goes through: how late a recovered handler is noticed."""
POISON_PAUSE_S: Final = 30.0
"""The longest wait between two tries of a message that fails while others go through."""
TRIALS_KEPT: Final = 4096

_log = logging.getLogger(__name__)

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

    async def hold(self, message: Delivered) -> None:
        """Still at it: nobody else gets the message for as long again as a delivery lasts."""
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


class Trials:
    """What is known of the messages of one consumer that failed.

    A failure counts against a message only when something else went through since it first failed. While nothing goes
    through it is the handler that is broken (its database is away, say), and then messages wait; they are not parked.
    """

    def __init__(self, source: Source, park: Park, *, name: str, park_after: int) -> None:
        self.successes = 0
        self._source = source
        self._park = park
        self._name = name
        self._park_after = park_after
        self._trials: dict[int, Trial] = {}

    def __contains__(self, message: Delivered) -> bool:
        return message.stream_seq in self._trials

    async def passed(self, message: Delivered) -> None:
        """It was handled: acks and forgets it."""
        self._trials.pop(message.stream_seq, None)
        await self._source.ack(message)

    async def failed(self, message: Delivered, error: Exception, successes_before: int) -> None:
        """Sends a message that failed on its own back for later, or parks it when it failed often enough.

        ``successes_before`` is `successes` as it was when the message's turn came.
        """
        trial = self._trials.setdefault(message.stream_seq, Trial(successes_before=successes_before))
        trial.tries += 1
        is_poison = self.successes > trial.successes_before
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
