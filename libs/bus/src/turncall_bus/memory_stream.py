"""A stream of the bus in memory, and the pulling from it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from turncall_bus.bus import Ack, Delivered, Fill, NotLast, Refused, Stored
from turncall_bus.matching import matches
from turncall_proto.subjects import StreamSpec

type Clock = Callable[[], float]


@dataclass(slots=True)
class Durable:
    """How far a durable consumer is, shared by all who pull from it; ``pending`` maps a sequence to when it is due."""

    filter: str
    next_seq: int = 1
    pending: dict[int, float] = field(default_factory=dict)
    deliveries: dict[int, int] = field(default_factory=dict)


class MemoryStream:
    """Messages by sequence, the message ids of the duplicate window, and the durable consumers."""

    def __init__(self, spec: StreamSpec, clock: Clock) -> None:
        self.spec = spec
        self.durables: dict[str, Durable] = {}
        self.news = asyncio.Event()
        self.last_seq = 0
        self._clock = clock
        self._messages: dict[int, Stored] = {}
        self._stored_at: dict[int, float] = {}
        self._ids: dict[str, tuple[int, float]] = {}
        self._size_bytes = 0

    def store(self, subject: str, data: bytes, *, message_id: str, expect_last: int | None) -> Ack:
        """Raises `NotLast`, `Refused`."""
        now_s = self._clock()
        self._age(now_s)
        if expect_last is not None:
            last = self.last_on(subject)
            found = last.stream_seq if last else 0
            if found != expect_last:
                raise NotLast(f"{subject}: the last sequence is {found}, not {expect_last}")
        if message_id in self._ids:
            return Ack(stream=self.spec.name, stream_seq=self._ids[message_id][0], is_duplicate=True)
        if self._size_bytes + len(data) > self.spec.max_bytes:
            raise Refused(f"stream {self.spec.name} is full")
        self.last_seq += 1
        self._messages[self.last_seq] = Stored(subject=subject, stream_seq=self.last_seq, data=data)
        self._stored_at[self.last_seq] = now_s
        self._ids[message_id] = (self.last_seq, now_s)
        self._size_bytes += len(data)
        self.news.set()
        return Ack(stream=self.spec.name, stream_seq=self.last_seq, is_duplicate=False)

    def _age(self, now_s: float) -> None:
        """Forgets messages and message ids whose time has passed; dicts keep the order of storing."""
        while self._stored_at and now_s - next(iter(self._stored_at.values())) > self.spec.max_age_s:
            self.remove(next(iter(self._stored_at)))
        while self._ids and now_s - next(iter(self._ids.values()))[1] > self.spec.duplicate_window_s:
            del self._ids[next(iter(self._ids))]

    def remove(self, seq: int) -> None:
        """Deletes one message, if it is there."""
        message = self._messages.pop(seq, None)
        if message is not None:
            self._size_bytes -= len(message.data)
            del self._stored_at[seq]

    def fill(self) -> Fill:
        """How full the stream is."""
        self._age(self._clock())
        return Fill(messages=len(self._messages), size_bytes=self._size_bytes)

    def message(self, seq: int) -> Stored | None:
        """The message with this sequence."""
        return self._messages.get(seq)

    def last_on(self, subject: str) -> Stored | None:
        """The newest message on exactly this subject."""
        self._age(self._clock())
        return next((found for found in reversed(self._messages.values()) if found.subject == subject), None)

    def under(self, pattern: str) -> list[Stored]:
        """Every message under a filter, oldest first."""
        self._age(self._clock())
        return [found for found in self._messages.values() if matches(pattern, found.subject)]


class MemorySource:
    """`turncall_bus.consumer.Source` over a stream in memory; ``is_connected`` says whether the bus is there."""

    def __init__(
        self,
        stream: MemoryStream,
        durable: Durable,
        *,
        ack_wait_s: float,
        clock: Clock,
        is_connected: Callable[[], bool],
    ) -> None:
        self._stream = stream
        self._durable = durable
        self._ack_wait_s = ack_wait_s
        self._clock = clock
        self._is_connected = is_connected
        self._held: set[int] = set()

    async def pull(self, batch: int, wait_s: float) -> list[Delivered]:
        """At least one message, then as many of ``batch`` as come within ``wait_s``; waits while away."""
        pulled: list[Delivered] = []
        full_at_s: float | None = None
        while True:
            now_s = self._clock()
            if self._is_connected():
                pulled += self._take(batch - len(pulled), now_s)
            if pulled and full_at_s is None:
                full_at_s = now_s + wait_s
            if len(pulled) >= batch or (full_at_s is not None and now_s >= full_at_s):
                return pulled
            wake_s = full_at_s or now_s + 1.0
            if full_at_s is None and self._is_connected():
                wake_s = min([wake_s, *self._durable.pending.values()])
            self._stream.news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wake_s - now_s)):
                    await self._stream.news.wait()

    def _take(self, room: int, now_s: float) -> list[Delivered]:
        durable = self._durable
        due = sorted(seq for seq, due_s in durable.pending.items() if due_s <= now_s)
        while len(due) < room and durable.next_seq <= self._stream.last_seq:
            message = self._stream.message(durable.next_seq)
            if message is not None and matches(durable.filter, message.subject):
                due.append(durable.next_seq)
            durable.next_seq += 1
        return [taken for seq in due[:room] if (taken := self._delivered(seq, now_s)) is not None]

    def _delivered(self, seq: int, now_s: float) -> Delivered | None:
        message = self._stream.message(seq)
        if message is None:  # purged while it waited
            self._durable.pending.pop(seq, None)
            return None
        delivery = self._durable.deliveries.get(seq, 0) + 1
        self._durable.deliveries[seq] = delivery
        self._durable.pending[seq] = now_s + self._ack_wait_s
        self._held.add(seq)
        return Delivered(subject=message.subject, stream_seq=seq, delivery=delivery, data=message.data)

    async def ack(self, message: Delivered) -> None:
        """Done with it for good; lost while the bus is away."""
        self._held.discard(message.stream_seq)
        if self._is_connected():
            self._durable.pending.pop(message.stream_seq, None)
            self._durable.deliveries.pop(message.stream_seq, None)
            if self._stream.spec.retention == "workqueue":
                self._stream.remove(message.stream_seq)

    async def again(self, message: Delivered, delay_s: float) -> None:
        """Deliver it once more, not before ``delay_s``; lost while the bus is away."""
        self._held.discard(message.stream_seq)
        if self._is_connected() and message.stream_seq in self._durable.pending:
            self._durable.pending[message.stream_seq] = self._clock() + delay_s
            self._stream.news.set()

    async def hold(self, message: Delivered) -> None:
        """Still at it: the ack wait begins anew; lost while the bus is away."""
        if self._is_connected() and message.stream_seq in self._durable.pending:
            self._durable.pending[message.stream_seq] = self._clock() + self._ack_wait_s

    async def close(self) -> None:
        """Gives back what was pulled and not acked."""
        for seq in self._held & self._durable.pending.keys():
            self._durable.pending[seq] = self._clock()
        self._held.clear()
        self._stream.news.set()
