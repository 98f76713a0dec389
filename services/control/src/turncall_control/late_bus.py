"""A bus that may not be there yet: the process starts without NATS, and is on it as soon as it answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from turncall_bus import nats
from turncall_bus.bus import Ack, Away, Bus, BusError, Delivered, Fill, Stored, Subscription
from turncall_control.config import ControlConfig
from turncall_proto.subjects import STREAMS, StreamSpec
from turncall_runtime import logs

RETRY_S: Final = 1.0
"""Between two attempts at the first connection, and at a subscription that could not begin."""

log = logs.logger(__name__)

_Begin = Callable[[Bus], Awaitable[Subscription]]


class _Awaited:
    """A subscription asked for; it begins when the bus is there, and ends with `close` in either case."""

    def __init__(self, arrival: asyncio.Future[Bus], begin: _Begin, what: str) -> None:
        self._begin = begin
        self._what = what
        self._subscription: Subscription | None = None
        self._task = asyncio.create_task(self._start(arrival))

    async def _start(self, arrival: asyncio.Future[Bus]) -> None:
        bus = await asyncio.shield(arrival)
        while self._subscription is None:
            try:
                self._subscription = await self._begin(bus)
            except BusError as error:
                log.warning("bus.subscription_waits", subject=self._what, error=str(error))
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Stops it and waits until its running handlers are done. Safe to call twice."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.shield(asyncio.wait({self._task}))
        if self._subscription is not None:
            await self._subscription.close()


class LateBus:
    """`turncall_bus.bus.Bus` over a connection that is made in the background by `connected`.

    Until then publishing and asking raise `Away`; subscriptions are accepted and begin with the connection.
    """

    def __init__(self) -> None:
        self._arrival: asyncio.Future[Bus] = asyncio.get_running_loop().create_future()

    def arrived(self, bus: Bus) -> None:
        """The connection is there."""
        self._arrival.set_result(bus)

    @property
    def has_arrived(self) -> bool:
        """Whether there has been a connection since the process started."""
        return self._arrival.done()

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached this instant."""
        return self._arrival.done() and self._arrival.result().is_connected

    def _bus(self) -> Bus:
        if not self._arrival.done():
            raise Away("NATS has not been reached since this process started")
        return self._arrival.result()

    async def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """See `Bus.prepare`."""
        await self._bus().prepare(streams)

    async def publish(
        self, subject: str, data: bytes, *, message_id: str, expect_last: int | None = None, timeout_s: float = 2.0
    ) -> Ack:
        """See `Bus.publish`."""
        return await self._bus().publish(
            subject, data, message_id=message_id, expect_last=expect_last, timeout_s=timeout_s
        )

    async def tell(self, subject: str, data: bytes) -> None:
        """See `Bus.tell`."""
        await self._bus().tell(subject, data)

    async def ask(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """See `Bus.ask`."""
        return await self._bus().ask(subject, data, timeout_s=timeout_s)

    async def serve(
        self, subject: str, answer: Callable[[bytes], Awaitable[bytes]], *, queue: str = "", at_once: int = 64
    ) -> Subscription:
        """See `Bus.serve`."""
        return _Awaited(self._arrival, lambda bus: bus.serve(subject, answer, queue=queue, at_once=at_once), subject)

    async def hear(self, subject: str, heard: Callable[[str, bytes], Awaitable[None]]) -> Subscription:
        """See `Bus.hear`."""
        return _Awaited(self._arrival, lambda bus: bus.hear(subject, heard), subject)

    async def consume(
        self,
        stream: str,
        durable: str,
        handle: Callable[[Sequence[Delivered]], Awaitable[None]],
        **options: Any,
    ) -> Subscription:
        """See `Bus.consume`."""
        return _Awaited(self._arrival, lambda bus: bus.consume(stream, durable, handle, **options), stream)

    async def work(
        self,
        stream: str,
        durable: str,
        work: Callable[[Delivered], Awaitable[None]],
        **options: Any,
    ) -> Subscription:
        """See `Bus.work`."""
        return _Awaited(self._arrival, lambda bus: bus.work(stream, durable, work, **options), stream)

    async def last(self, subject: str) -> bytes | None:
        """See `Bus.last`."""
        return await self._bus().last(subject)

    async def story(self, subject: str, *, after: int = 0, limit: int | None = None) -> list[Stored]:
        """See `Bus.story`."""
        return await self._bus().story(subject, after=after, limit=limit)

    async def remove(self, stream: str, stream_seq: int) -> None:
        """See `Bus.remove`."""
        await self._bus().remove(stream, stream_seq)

    async def fill(self, stream: str) -> Fill:
        """See `Bus.fill`."""
        return await self._bus().fill(stream)

    async def purge(self, subject: str) -> None:
        """See `Bus.purge`."""
        await self._bus().purge(subject)

    async def close(self) -> None:
        """See `Bus.close`."""
        if self._arrival.done():
            await self._arrival.result().close()


@asynccontextmanager
async def connected(config: ControlConfig) -> AsyncIterator[Bus]:
    """The bus of this process; at once, also while NATS is away. Closed at the end."""
    late = LateBus()
    connecting = asyncio.create_task(_connect(late, config.nats_url.reveal()))
    try:
        yield late
    finally:
        connecting.cancel()
        await asyncio.wait({connecting})
        await late.close()
        if not connecting.cancelled():
            connecting.result()


async def _connect(late: LateBus, url: str) -> None:
    """Tries for ever: a server that is away, too old or without a leader may be another one in a second."""
    bus: Bus | None = None
    try:
        while not late.has_arrived:
            try:
                bus = bus or await nats.connect(url, name="control", timeout_s=5.0)
                await bus.prepare(STREAMS)
            except BusError as error:
                log.error("bus.unreachable", error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                late.arrived(bus)
    finally:
        if bus is not None and not late.has_arrived:
            await bus.close()
