"""States the facts of one epoch: numbers them, cuts what is too large honestly, and writes them to the spool."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, cast

from msgspec import Struct, json

from turncall_bus.spool import DiskFull
from turncall_media.counters import Counters
from turncall_media.report.live import LiveFeed
from turncall_media.seams import Outcome
from turncall_proto.call import CallStart
from turncall_proto.codec import TooLarge, encode
from turncall_proto.events import (
    CallEvent,
    CallHandoff,
    ContextInjected,
    EpochClosed,
    EpochOpened,
    Event,
    ToolCalled,
    ToolReturned,
    VendorFailed,
)
from turncall_proto.ids import WorkerId
from turncall_proto.subjects import live
from turncall_runtime import logs

_log = logs.logger(__name__)

HELD_FACTS: Final = 10_000
"""Facts that may wait for a claim or for room on the disk; hours of a call."""
BACK: Final = "The caller could not be connected to the person and is back with you. Tell them, and go on helping."
OUTCOMES: Final = {
    "busy": "The line was busy.",
    "no_answer": "Nobody answered.",
    "declined": "The person did not take the call.",
    "machine": "A machine answered.",
    "failed": "The line could not be reached.",
}
KEPT_CHARS: Final = 16_384
"""How much of a value that was too large for the bus stays in the record."""
_CUTTABLE: Final[dict[type[CallEvent], str]] = {
    ToolReturned: "output",
    ToolCalled: "arguments",
    VendorFailed: "detail",
}
"""What may be cut, and only when the fact is too large; what a person or an agent said is never cut."""


class EpochReporter:
    """The `Reporter` of one epoch, between `open` and `close`.

    Facts are held in memory until the epoch is known to be ours (`release`), so that of two workers with the same
    socket only one writes history; `discard` forgets them for good. ``append`` writes to the spool; while its disk is
    full facts are held as well, in order, and each new one tries again. ``told`` is all that was stated, for the agent
    that goes on with the call on this worker.
    """

    def __init__(
        self,
        plan: CallStart,
        append: Callable[[Event], None],
        feed: LiveFeed,
        now: Callable[[], datetime],
        counters: Counters,
    ) -> None:
        self._plan = plan
        self._append = append
        self._feed = feed
        self._now = now
        self._counters = counters
        self._seq = 0
        self._held: deque[Event] = deque()
        self._is_ours = False
        self._is_over = False
        self.told: list[Event] = []

    def open(self, worker: WorkerId, previous_seq: int, earlier: Iterable[Event] = ()) -> None:
        """States `EpochOpened`, the first fact; then, unless one of ``earlier`` did, what the plan tells: that another
        agent has the call, that the caller is back from a transfer."""
        self.report(EpochOpened, worker=worker, previous_seq=previous_seq)
        earlier = tuple(earlier)
        failed = self._plan.transfer_failed
        if failed is not None and not any(
            isinstance(fact, ContextInjected) and fact.source == failed.transfer_id for fact in earlier
        ):
            why = f"{BACK} {OUTCOMES[failed.outcome]}"
            self.report(ContextInjected, role="system", text=why, is_answered=True, source=failed.transfer_id)
        handoff = self._plan.handoff
        if handoff is not None and not any(
            isinstance(fact, CallHandoff) and fact.from_epoch == handoff.from_epoch for fact in earlier
        ):
            self.report(
                CallHandoff,
                from_epoch=handoff.from_epoch,
                from_agent_id=handoff.from_agent_id,
                to_agent_id=self._plan.agent_id,
                to_version_id=self._plan.version_id,
                reason=handoff.reason,
            )

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None:
        """States one fact with the next number. After `close` or `discard` it counts the fact and drops it."""
        if self._is_over:
            self._counters.facts.labels("after_the_end").inc()
            return
        if len(self._held) >= HELD_FACTS:
            self._lose(kind, "no_room", "too many facts wait for the spool's disk")
            return
        try:
            event = self._fitting(kind, facts)
        except TooLarge as error:
            self._lose(kind, "too_large", str(error))
            return
        self._seq += 1
        self.told.append(event)
        self._held.append(event)
        if self._is_ours:
            self._write()

    def whisper(self, message: Struct) -> None:
        """Lossy news for live feeds; what is too large for the bus is dropped as well."""
        if self._is_over:
            return
        try:
            data = encode(message)
        except TooLarge:
            self._counters.whispers.labels("too_large").inc()
        else:
            self._feed.tell(live(self._plan.project_id, self._plan.call_id), data)

    def release(self) -> None:
        """The epoch is ours, or nobody can tell: what was held goes to the spool, in order."""
        self._is_ours = True
        self._write()

    def discard(self) -> None:
        """The epoch is another worker's: nothing that was held is stated, nor anything after it."""
        self._held.clear()
        self._is_over = True

    def close(self, outcome: Outcome) -> None:
        """States `EpochClosed`, the last fact; its number is how many there are. Does nothing after `discard`."""
        if self._is_over:
            return
        self.report(EpochClosed, state=outcome.state, reason=outcome.reason)
        self.release()
        self._is_over = True
        for event in self._held:
            self._lose(type(event), "disk_full", "the spool's disk is full")

    def _fitting(self, kind: type[CallEvent], facts: dict[str, Any]) -> Event:
        """The fact, cut if it must be. Raises `TooLarge` when what remains may not be cut."""
        event = self._numbered(kind, facts)
        try:
            encode(event)
        except TooLarge:
            field = _CUTTABLE.get(kind)
            if field is None:
                raise
            self._counters.facts.labels("cut").inc()
            event = self._numbered(kind, facts | {field: _cut(facts[field])})
            encode(event)
        return event

    def _numbered(self, kind: type[CallEvent], facts: dict[str, Any]) -> Event:
        event = kind(
            call_id=self._plan.call_id,
            project_id=self._plan.project_id,
            epoch=self._plan.epoch,
            seq=self._seq + 1,
            at=self._now(),
            **facts,
        )
        return cast(Event, event)

    def _write(self) -> None:
        while self._held:
            try:
                self._append(self._held[0])
            except DiskFull:
                return
            self._held.popleft()
            self._counters.facts.labels("spooled").inc()

    def _lose(self, kind: type[CallEvent], fate: str, why: str) -> None:
        self._counters.facts.labels(fate).inc()
        _log.error("fact.lost", fact=kind.__name__, seq=self._seq, why=why)


def _cut(value: Any) -> Any:
    """What stands in the record for a value over the limit: text is shortened, anything else becomes a marked head."""
    if isinstance(value, str):
        return f"{value[:KEPT_CHARS]}… (cut from {len(value)} characters)"
    data = json.encode(value)
    return {
        "is_truncated": True,
        "size_bytes": len(data),
        "head": data[:KEPT_CHARS].decode(errors="ignore"),
    }
