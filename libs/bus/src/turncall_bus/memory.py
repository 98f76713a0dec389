"""The bus in one process, for tests: the behaviour of `turncall_bus.nats`, held to it by the same contract suite."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from turncall_bus.bus import Ack, Away, Delivered, Fill, NoAnswer, NobodyListens, Refused, Stored, Subscription
from turncall_bus.consumer import Consumer
from turncall_bus.crew import Crew
from turncall_bus.handlers import Answering, Hearing, Reply
from turncall_bus.matching import matches
from turncall_bus.memory_stream import Clock, Durable, MemorySource, MemoryStream
from turncall_bus.trials import parking
from turncall_proto.subjects import StreamSpec


class _Handler:
    """One core subscription, and what its caller holds of it."""

    def __init__(self, bus: "MemoryBus", pattern: str, queue: str, runs: Answering | Hearing | Consumer | Crew) -> None:
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
        self._streams: dict[str, MemoryStream] = {}
        self._handlers: list[_Handler] = []
        self._awaited: set[asyncio.Future[bytes]] = set()
        self._is_away = False
        self._is_closed = False

    def go_away(self) -> None:
        """From here on there is no connection: what needs one raises `Away`, and answers and acks get lost."""
        self._is_away = True
        for answer in self._awaited:
            if not answer.done():
                answer.set_exception(NoAnswer("the connection broke before an answer came"))
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
                self._streams[spec.name] = MemoryStream(spec, self.clock)

    def _stream(self, name: str) -> MemoryStream:
        self.require_connection()
        if name not in self._streams:
            raise Refused(f"there is no stream {name}")
        return self._streams[name]

    def _stream_of(self, subject: str) -> MemoryStream:
        self.require_connection()
        for stream in self._streams.values():
            if any(matches(pattern, subject) for pattern in stream.spec.subjects):
                return stream
        raise Refused(f"no stream holds {subject}")

    async def publish(
        self, subject: str, data: bytes, *, message_id: str, expect_last: int | None = None, timeout_s: float = 2.0
    ) -> Ack:
        """Stores a message in its stream; see `turncall_bus.bus.Bus.publish`."""
        ack = self._stream_of(subject).store(subject, data, message_id=message_id, expect_last=expect_last)
        self._deliver(subject, data, _nowhere)  # core listeners hear what is published to a stream, repeats included
        return ack

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
        self._awaited.add(answer)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise NoAnswer(f"no answer on {subject} within {timeout_s} s") from error
        finally:
            self._awaited.discard(answer)

    async def serve(
        self, subject: str, answer: Callable[[bytes], Awaitable[bytes]], *, queue: str = "", at_once: int = 64
    ) -> Subscription:
        """Answers requests; see `turncall_bus.bus.Bus.serve`."""
        return self._added(subject, queue, Answering(subject, answer, at_once))

    async def hear(self, subject: str, heard: Callable[[str, bytes], Awaitable[None]]) -> Subscription:
        """Core subscription; see `turncall_bus.bus.Bus.hear`."""
        return self._added(subject, "", Hearing(subject, heard))

    def _added(self, pattern: str, queue: str, runs: Answering | Hearing | Consumer | Crew) -> Subscription:
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
        reads_ahead: bool = False,
    ) -> Subscription:
        """Pulls batches for ever; see `turncall_bus.bus.Bus.consume`. Nothing travels, so nothing is read ahead."""
        source = self._source(stream, durable, subject, redeliver_after_s)
        name, park = f"{stream}/{durable}", parking(self, stream, durable)
        consumer = Consumer(source, handle, park, name=name, batch=batch, wait_s=wait_s, park_after=park_after)
        return self._added("", "", consumer)

    async def work(
        self,
        stream: str,
        durable: str,
        work: Callable[[Delivered], Awaitable[None]],
        *,
        subject: str,
        at_once: int,
        lease_s: float = 10.0,
        park_after: int = 8,
    ) -> Subscription:
        """Works jobs off for ever; see `turncall_bus.bus.Bus.work`."""
        source = self._source(stream, durable, subject, lease_s)
        name, park = f"{stream}/{durable}", parking(self, stream, durable)
        crew = Crew(source, work, park, name=name, at_once=at_once, lease_s=lease_s, park_after=park_after)
        return self._added("", "", crew)

    def _source(self, stream: str, durable: str, subject: str, ack_wait_s: float) -> MemorySource:
        self.require_connection()
        if stream not in self._streams:
            raise Refused(f"consumer {durable} of {stream} was not made: stream not found")
        holder = self._streams[stream]
        state = holder.durables.setdefault(durable, Durable(filter=subject))
        state.filter = subject
        return MemorySource(
            holder, state, ack_wait_s=ack_wait_s, clock=self.clock, is_connected=lambda: self.is_connected
        )

    async def last(self, subject: str) -> bytes | None:
        """The newest message on a subject; see `turncall_bus.bus.Bus.last`."""
        found = self._stream_of(subject).last_on(subject)
        return found.data if found else None

    async def story(self, subject: str, *, after: int = 0, limit: int | None = None) -> list[Stored]:
        """Stored messages under a filter; see `turncall_bus.bus.Bus.story`."""
        return [one for one in self._stream_of(subject).under(subject) if one.stream_seq > after][:limit]

    async def remove(self, stream: str, stream_seq: int) -> None:
        """Deletes one stored message; see `turncall_bus.bus.Bus.remove`."""
        self._stream(stream).remove(stream_seq)

    async def fill(self, stream: str) -> Fill:
        """How full a stream is; see `turncall_bus.bus.Bus.fill`."""
        return self._stream(stream).fill()

    async def purge(self, subject: str) -> None:
        """Deletes every stored message under a subject filter."""
        stream = self._stream_of(subject)
        for found in stream.under(subject):
            stream.remove(found.stream_seq)

    async def close(self) -> None:
        """Closes every subscription. Safe to call twice."""
        for handler in list(self._handlers):
            await handler.close()
        self._is_closed = True
