"""The bus in one process, for tests: the behaviour of `turncall_bus.nats`, held to it by the same contract suite."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from turncall_bus.bus import (
    Ack,
    Away,
    Delivered,
    NoAnswer,
    NobodyListens,
    NotLast,
    Parked,
    Refused,
    Stored,
    Subscription,
)
from turncall_bus.consumer import Consumer
from turncall_bus.handlers import Answering, Hearing, Reply
from turncall_bus.matching import matches
from turncall_proto import subjects
from turncall_proto.subjects import StreamSpec

type Clock = Callable[[], float]


@dataclass(slots=True)
class _Durable:
    """How far a durable consumer is, shared by all who pull from it; ``pending`` maps a sequence to when it is due."""

    filter: str
    next_seq: int = 1
    pending: dict[int, float] = field(default_factory=dict)
    deliveries: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Stream:
    spec: StreamSpec
    messages: dict[int, Stored] = field(default_factory=dict)
    stored_at: dict[int, float] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    durables: dict[str, _Durable] = field(default_factory=dict)
    size_bytes: int = 0
    last_seq: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def last_on(self, subject: str) -> Stored | None:
        return next((found for found in reversed(self.messages.values()) if found.subject == subject), None)

    def remove(self, seq: int) -> None:
        message = self.messages.pop(seq, None)
        if message is not None:
            self.size_bytes -= len(message.data)
            del self.stored_at[seq]

    def age(self, now_s: float) -> None:
        """Forgets messages and message ids whose time has passed; a dict keeps the order of storing."""
        while self.stored_at and now_s - next(iter(self.stored_at.values())) > self.spec.max_age_s:
            self.remove(next(iter(self.stored_at)))


class _MemorySource:
    """`turncall_bus.consumer.Source` over a stream in memory."""

    def __init__(self, bus: "MemoryBus", stream: _Stream, durable: str, filter_: str, ack_wait_s: float) -> None:
        self._bus = bus
        self._stream = stream
        self._name = durable
        self._durable = stream.durables.setdefault(durable, _Durable(filter=filter_))
        self._durable.filter = filter_
        self._ack_wait_s = ack_wait_s
        self._held: set[int] = set()

    async def pull(self, batch: int, wait_s: float) -> list[Delivered]:
        pulled: list[Delivered] = []
        linger_until: float | None = None
        while True:
            self._bus.require_connection()
            now_s = self._bus.clock()
            pulled += self._take(batch - len(pulled), now_s)
            if pulled and linger_until is None:
                linger_until = now_s + wait_s
            if len(pulled) >= batch or (linger_until is not None and now_s >= linger_until):
                return pulled
            wake_s = min(self._durable.pending.values(), default=now_s + 1.0) if linger_until is None else linger_until
            self._stream.news.clear()
            try:
                async with asyncio.timeout(max(0.0, wake_s - now_s)):
                    await self._stream.news.wait()
            except TimeoutError:
                pass

    def _take(self, room: int, now_s: float) -> list[Delivered]:
        durable = self._durable
        due = sorted(seq for seq, due_s in durable.pending.items() if due_s <= now_s)
        while len(due) < room and durable.next_seq <= self._stream.last_seq:
            message = self._stream.messages.get(durable.next_seq)
            if message is not None and matches(durable.filter, message.subject):
                due.append(durable.next_seq)
            durable.next_seq += 1
        taken: list[Delivered] = []
        for seq in due[:room]:
            message = self._stream.messages.get(seq)
            if message is None:  # purged while it waited
                durable.pending.pop(seq, None)
                continue
            durable.pending[seq] = now_s + self._ack_wait_s
            durable.deliveries[seq] = durable.deliveries.get(seq, 0) + 1
            self._held.add(seq)
            taken.append(
                Delivered(subject=message.subject, stream_seq=seq, delivery=durable.deliveries[seq], data=message.data)
            )
        return taken

    async def ack(self, message: Delivered) -> None:
        self._held.discard(message.stream_seq)
        if not self._bus.is_connected:
            return
        self._durable.pending.pop(message.stream_seq, None)
        self._durable.deliveries.pop(message.stream_seq, None)
        if self._stream.spec.retention == "workqueue":
            self._stream.remove(message.stream_seq)

    async def again(self, message: Delivered, delay_s: float) -> None:
        self._held.discard(message.stream_seq)
        if self._bus.is_connected and message.stream_seq in self._durable.pending:
            self._durable.pending[message.stream_seq] = self._bus.clock() + delay_s
            self._stream.news.set()

    async def park(self, message: Delivered, error: str) -> None:
        parked = Parked(
            stream=self._stream.spec.name,
            durable=self._name,
            subject=message.subject,
            stream_seq=message.stream_seq,
            error=error,
            data=message.data,
        )
        message_id = f"{parked.stream}.{parked.durable}.{parked.stream_seq}"
        await self._bus.publish(subjects.dead(parked.stream), msgspec.json.encode(parked), message_id=message_id)

    async def close(self) -> None:
        for seq in self._held & self._durable.pending.keys():
            self._durable.pending[seq] = self._bus.clock()
        self._held.clear()
        self._stream.news.set()


class _Handler:
    """One core subscription, and what its caller holds of it."""

    def __init__(self, bus: "MemoryBus", pattern: str, queue: str, runs: Answering | Hearing | Consumer) -> None:
        self._bus = bus
        self.pattern = pattern
        self.queue = queue
        self.runs = runs

    async def close(self) -> None:
        """Stops it and waits until its running handlers are done. Safe to call twice."""
        self._bus.forget(self)
        await self.runs.close()

    def offer(self, subject: str, data: bytes, reply: Reply) -> None:
        if isinstance(self.runs, Answering):
            self.runs.offer(data, reply)
        elif isinstance(self.runs, Hearing):
            self.runs.offer(subject, data)


async def _nowhere(_data: bytes) -> None:
    """The reply to a message that was told, not asked."""


class MemoryBus:
    """`turncall_bus.bus.Bus` without a server: one object is the server and every client of it.

    ``clock`` gives monotonic seconds for ages, duplicate windows and redelivery.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._streams: dict[str, _Stream] = {}
        self._handlers: list[_Handler] = []
        self._is_away = False
        self._is_closed = False

    def go_away(self) -> None:
        """From here on there is no connection: what needs one raises `Away`, and acks get lost."""
        self._is_away = True
        self._wake()

    def come_back(self) -> None:
        """The connection is there again, with all that was stored."""
        self._is_away = False
        self._wake()

    def _wake(self) -> None:
        for stream in self._streams.values():
            stream.news.set()

    @property
    def is_connected(self) -> bool:
        """Whether `go_away` was not called last."""
        return not self._is_away and not self._is_closed

    def require_connection(self) -> None:
        """Raises `Away` when there is no connection."""
        if not self.is_connected:
            raise Away("the bus in memory is away")

    def forget(self, handler: _Handler) -> None:
        """The subscription is closing by itself."""
        if handler in self._handlers:
            self._handlers.remove(handler)

    async def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Creates or updates the streams."""
        self.require_connection()
        for spec in streams:
            if spec.name in self._streams:
                self._streams[spec.name].spec = spec
            else:
                self._streams[spec.name] = _Stream(spec=spec)

    def _stream_of(self, subject: str) -> _Stream:
        self.require_connection()
        for stream in self._streams.values():
            if any(matches(pattern, subject) for pattern in stream.spec.subjects):
                stream.age(self.clock())
                return stream
        raise Refused(f"no stream holds {subject}")

    async def publish(
        self, subject: str, data: bytes, *, message_id: str, expect_last: int | None = None, timeout_s: float = 2.0
    ) -> Ack:
        """Stores a message in its stream; see `turncall_bus.bus.Bus.publish`."""
        stream = self._stream_of(subject)
        now_s = self.clock()
        if expect_last is not None:
            last = stream.last_on(subject)
            found = last.stream_seq if last else 0
            if found != expect_last:
                raise NotLast(f"{subject}: the last sequence is {found}, not {expect_last}")
        first = stream.ids.get(message_id)
        if first is not None and now_s - stream.stored_at.get(first, now_s) <= stream.spec.duplicate_window_s:
            return Ack(stream=stream.spec.name, stream_seq=first, is_duplicate=True)
        if stream.size_bytes + len(data) > stream.spec.max_bytes:
            raise Refused(f"stream {stream.spec.name} is full")
        stream.last_seq += 1
        stream.messages[stream.last_seq] = Stored(subject=subject, stream_seq=stream.last_seq, data=data)
        stream.stored_at[stream.last_seq] = now_s
        stream.ids[message_id] = stream.last_seq
        stream.size_bytes += len(data)
        stream.news.set()
        self._deliver(subject, data, _nowhere)  # core listeners hear stored messages too
        return Ack(stream=stream.spec.name, stream_seq=stream.last_seq, is_duplicate=False)

    def _deliver(self, subject: str, data: bytes, reply: Reply) -> int:
        """Hands a message to every plain subscriber and to one of each queue group; returns how many took it."""
        groups: dict[str, list[_Handler]] = {}
        chosen: list[_Handler] = []
        for handler in self._handlers:
            if matches(handler.pattern, subject):
                groups.setdefault(handler.queue, []).append(handler) if handler.queue else chosen.append(handler)
        chosen += [random.choice(members) for members in groups.values()]
        for handler in chosen:
            handler.offer(subject, data, reply)
        return len(chosen)

    async def tell(self, subject: str, data: bytes) -> None:
        """Core publish, at most once. Raises `Away`."""
        self.require_connection()
        self._deliver(subject, data, _nowhere)

    async def ask(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """Core request; the first answer. Raises `Away`, `NobodyListens`, `NoAnswer`."""
        self.require_connection()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def reply(given: bytes) -> None:
            if self.is_connected and not answer.done():
                answer.set_result(given)

        if not self._deliver(subject, data, reply):
            raise NobodyListens(f"nobody listens on {subject}")
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise NoAnswer(f"no answer on {subject} within {timeout_s} s") from error

    async def serve(
        self, subject: str, answer: Callable[[bytes], Awaitable[bytes]], *, queue: str = "", at_once: int = 64
    ) -> Subscription:
        """Answers requests; see `turncall_bus.bus.Bus.serve`."""
        return self._added(subject, queue, Answering(subject, answer, at_once))

    async def hear(self, subject: str, heard: Callable[[str, bytes], Awaitable[None]]) -> Subscription:
        """Core subscription; see `turncall_bus.bus.Bus.hear`."""
        return self._added(subject, "", Hearing(subject, heard))

    def _added(self, pattern: str, queue: str, runs: Answering | Hearing | Consumer) -> Subscription:
        handler = _Handler(self, pattern, queue, runs)
        self._handlers.append(handler)
        return handler

    async def consume(
        self,
        stream: str,
        durable: str,
        handle: Callable[[Sequence[Delivered]], Awaitable[None]],
        *,
        subject: str,
        batch: int = 256,
        wait_s: float = 0.02,
        redeliver_after_s: float = 30.0,
        park_after: int = 8,
    ) -> Subscription:
        """Pulls batches for ever; see `turncall_bus.bus.Bus.consume`."""
        self.require_connection()
        if stream not in self._streams:
            raise Refused(f"consumer {durable} of {stream} was not made: stream not found")
        source = _MemorySource(self, self._streams[stream], durable, subject, redeliver_after_s)
        name = f"{stream}/{durable}"
        consumer = Consumer(source, handle, name=name, batch=batch, wait_s=wait_s, park_after=park_after)
        return self._added("", "", consumer)

    async def last(self, subject: str) -> bytes | None:
        """The newest message on a subject; see `turncall_bus.bus.Bus.last`."""
        found = self._stream_of(subject).last_on(subject)
        return found.data if found else None

    async def story(self, subject: str) -> list[Stored]:
        """Every stored message under a filter; see `turncall_bus.bus.Bus.story`."""
        return [found for found in self._stream_of(subject).messages.values() if matches(subject, found.subject)]

    async def purge(self, subject: str) -> None:
        """Deletes every stored message under a subject filter."""
        stream = self._stream_of(subject)
        for found in await self.story(subject):
            stream.remove(found.stream_seq)

    async def close(self) -> None:
        """Closes every subscription. Safe to call twice."""
        for handler in list(self._handlers):
            await handler.close()
        self._is_closed = True
