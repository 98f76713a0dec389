"""The bus on NATS with JetStream."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as RawSubscription

from turncall_bus.bus import (
    Ack,
    Away,
    Delivered,
    Fill,
    NoAnswer,
    NobodyListens,
    NotLast,
    Refused,
    Stored,
    Subscription,
)
from turncall_bus.client import ConnectionLost, PromptClient, dial
from turncall_bus.consumer import Consumer
from turncall_bus.crew import Crew
from turncall_bus.direct import NONE_FOUND, read_story, status
from turncall_bus.handlers import Answering, Hearing
from turncall_bus.jetstream import (
    Problem,
    ensure_consumer,
    prepare_stream,
    purge_subject,
    remove_message,
    stream_fill,
)
from turncall_bus.matching import matches
from turncall_bus.pull import PullSource
from turncall_bus.trials import parking
from turncall_proto.subjects import STREAMS, StreamSpec

READ_WITHIN_S: Final = 5.0
CLOSE_WITHIN_S: Final = 3.0
_WRONG_LAST: Final = frozenset({10071, 10164})

_log = logging.getLogger(__name__)


class _PublishReply(msgspec.Struct, frozen=True, kw_only=True):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: Problem | None = None


async def connect(url: str, *, name: str, credentials: Path | None = None, timeout_s: float = 10.0) -> "NatsBus":
    """A bus on the servers of ``url`` (``nats://`` or ``tls://``, several with commas, with user and password).

    ``name`` is shown in the server's monitoring; ``credentials`` is a NATS credentials file. Once connected, the bus
    reconnects for ever. Raises `Away` when no server lets it in within ``timeout_s``, `ServerTooOld` below 2.11.
    """
    return NatsBus(await dial(url, name=name, credentials=credentials, timeout_s=timeout_s))


class _Handler(Protocol):
    async def close(self) -> None: ...


class _Interest:
    """What a caller holds: it ends the messages' coming, then waits for the handlers."""

    def __init__(self, bus: "NatsBus", handler: _Handler, raw: RawSubscription | None = None) -> None:
        self._bus = bus
        self._handler = handler
        self._raw = raw

    async def close(self) -> None:
        """Stops it and waits until its running handlers are done. Safe to call twice."""
        self._bus.forget(self)
        if self._raw is not None:
            with suppress(nats.errors.Error):  # closed before, or with the connection
                await self._raw.unsubscribe()
        await self._handler.close()


class NatsBus:
    """`turncall_bus.bus.Bus` over one connection. Made by `connect`."""

    def __init__(self, client: PromptClient) -> None:
        self._client = client
        self._client.reconnected = self._ask_anew
        self._streams = {spec.name: spec.subjects for spec in STREAMS}
        self._open: dict[_Interest, PullSource | None] = {}
        self._is_closing = False

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached this instant, as far as the last pings and the socket tell."""
        return self._client.is_usable

    def _ask_anew(self) -> None:
        """The requests that consumers had open went with the old connection."""
        for source in self._open.values():
            if source is not None:
                source.forget_request()

    async def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Creates or updates the streams; safe to run from many processes at once. Raises `BusError`."""
        for spec in streams:
            await prepare_stream(self._api, spec)
            self._streams[spec.name] = spec.subjects

    async def publish(
        self, subject: str, data: bytes, *, message_id: str, expect_last: int | None = None, timeout_s: float = 2.0
    ) -> Ack:
        """Stores a message in its stream; see `turncall_bus.bus.Bus.publish`."""
        headers = {"Nats-Msg-Id": message_id}
        if expect_last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expect_last)
        try:
            message = await self._request(subject, data, timeout_s=timeout_s, headers=headers)
        except nats.errors.NoRespondersError as error:
            raise Refused(f"no stream takes {subject}") from error
        reply = msgspec.json.decode(message.data, type=_PublishReply)
        if reply.error is not None:
            kind = NotLast if reply.error.err_code in _WRONG_LAST else Refused
            raise kind(f"{subject}: {reply.error.description} ({reply.error.err_code})")
        return Ack(stream=reply.stream, stream_seq=reply.seq, is_duplicate=reply.duplicate)

    async def tell(self, subject: str, data: bytes) -> None:
        """Core publish, at most once. Raises `Away`."""
        self._require_connection()
        try:
            await self._client.publish(subject, data)
        except nats.errors.MaxPayloadError as error:
            raise Refused(f"{subject}: {len(data)} bytes are more than the server takes") from error
        except nats.errors.Error as error:
            raise Away(f"no connection to NATS: {error}") from error

    async def ask(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """Core request; the first answer. Raises `Away`, `NobodyListens`, `NoAnswer`."""
        try:
            return (await self._request(subject, data, timeout_s=timeout_s)).data
        except nats.errors.NoRespondersError as error:
            raise NobodyListens(f"nobody listens on {subject}") from error

    async def serve(
        self, subject: str, answer: Callable[[bytes], Awaitable[bytes]], *, queue: str = "", at_once: int = 64
    ) -> Subscription:
        """Answers requests; see `turncall_bus.bus.Bus.serve`. Without a connection it begins with the next one."""
        answering = Answering(subject, answer, at_once)

        async def taken(message: Msg) -> None:
            answering.offer(message.data, lambda data: self._client.publish(message.reply, data))

        return await self._interest(subject, queue, taken, answering)

    async def hear(self, subject: str, heard: Callable[[str, bytes], Awaitable[None]]) -> Subscription:
        """Core subscription; see `turncall_bus.bus.Bus.hear`. Without a connection it begins with the next one."""
        hearing = Hearing(subject, heard)

        async def taken(message: Msg) -> None:
            hearing.offer(message.subject, message.data)

        return await self._interest(subject, "", taken, hearing)

    async def _interest(
        self, subject: str, queue: str, taken: Callable[[Msg], Awaitable[None]], handler: _Handler
    ) -> Subscription:
        raw = await self._client.subscribe(subject, queue=queue, cb=taken)
        interest = _Interest(self, handler, raw)
        self._open[interest] = None
        await self._client.settle()
        return interest

    def forget(self, interest: _Interest) -> None:
        """The subscription is closing by itself."""
        self._open.pop(interest, None)

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
        """Pulls batches for ever; see `turncall_bus.bus.Bus.consume`. Raises `BusError` when it cannot begin."""
        source = await self._source(stream, durable, subject, redeliver_after_s, reads_ahead=reads_ahead)
        name, park = f"{stream}/{durable}", parking(self, stream, durable)
        consumer = Consumer(source, handle, park, name=name, batch=batch, wait_s=wait_s, park_after=park_after)
        return self._pulled(consumer, source)

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
        """Works jobs off for ever; see `turncall_bus.bus.Bus.work`. Raises `BusError` when it cannot begin."""
        source = await self._source(stream, durable, subject, lease_s)
        name, park = f"{stream}/{durable}", parking(self, stream, durable)
        crew = Crew(source, work, park, name=name, at_once=at_once, lease_s=lease_s, park_after=park_after)
        return self._pulled(crew, source)

    async def _source(
        self, stream: str, durable: str, subject: str, ack_wait_s: float, *, reads_ahead: bool = False
    ) -> PullSource:
        async def ensure() -> None:
            await ensure_consumer(self._api, stream, durable, subject=subject, redeliver_after_s=ack_wait_s)

        source = PullSource(self._client, stream, durable, ensure=ensure, reads_ahead=reads_ahead)
        await source.open()
        return source

    def _pulled(self, loop: Consumer | Crew, source: PullSource) -> Subscription:
        interest = _Interest(self, loop)
        self._open[interest] = source
        return interest

    async def last(self, subject: str) -> bytes | None:
        """The newest message on a subject; see `turncall_bus.bus.Bus.last`."""
        stream = self._stream_of(subject)
        try:
            message = await self._request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout_s=READ_WITHIN_S)
        except nats.errors.NoRespondersError as error:
            raise Away(f"stream {stream} is missing or has no leader") from error
        code = status(message)
        if code is None:
            return message.data
        if code == NONE_FOUND:
            return None
        raise Away(f"stream {stream} cannot be read: status {code} to a direct get")

    async def story(self, subject: str, *, after: int = 0, limit: int | None = None) -> list[Stored]:
        """Stored messages under a filter; see `turncall_bus.bus.Bus.story`."""
        self._require_connection()
        stream = self._stream_of(subject)
        return await read_story(self._client, stream, subject, after=after, limit=limit, timeout_s=READ_WITHIN_S)

    async def remove(self, stream: str, stream_seq: int) -> None:
        """Deletes one stored message; see `turncall_bus.bus.Bus.remove`."""
        await remove_message(self._api, stream, stream_seq)

    async def fill(self, stream: str) -> Fill:
        """How full a stream is; see `turncall_bus.bus.Bus.fill`."""
        return await stream_fill(self._api, stream)

    async def purge(self, subject: str) -> None:
        """Deletes every stored message under a subject filter. Raises `BusError`."""
        await purge_subject(self._api, self._stream_of(subject), subject)

    async def close(self) -> None:
        """Closes every subscription, flushes and disconnects, within 3 s. Safe to call twice."""
        if self._is_closing:
            return
        self._is_closing = True
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S - 1):
                async with asyncio.TaskGroup() as closing:
                    for interest in list(self._open):
                        closing.create_task(interest.close())
                await self._client.settle()
        except TimeoutError:
            _log.warning("bus: handlers were still running when the bus closed")
        finally:
            await self._client.close()

    def _require_connection(self) -> None:
        if not self.is_connected:
            raise Away("no connection to NATS")

    def _stream_of(self, subject: str) -> str:
        for stream, filters in self._streams.items():
            if any(matches(pattern, subject) for pattern in filters):
                return stream
        raise Refused(f"no stream holds {subject}")

    async def _request(
        self, subject: str, data: bytes, *, timeout_s: float, headers: dict[str, str] | None = None
    ) -> Msg:
        """One request. Raises `Away`, `NoAnswer`, `Refused` and nats-py's `NoRespondersError`."""
        self._require_connection()
        try:
            return await self._client.request(subject, data, timeout=timeout_s, headers=headers)
        except nats.errors.NoRespondersError:
            raise
        except nats.errors.TimeoutError as error:
            raise NoAnswer(f"no answer on {subject} within {timeout_s} s") from error
        except ConnectionLost as error:
            raise NoAnswer(f"the connection broke before an answer on {subject} came") from error
        except nats.errors.MaxPayloadError as error:
            raise Refused(f"{subject}: {len(data)} bytes are more than the server takes") from error
        except nats.errors.Error as error:
            raise Away(f"no connection to NATS: {error}") from error

    async def _api(self, subject: str, data: bytes) -> bytes:
        """One request to the JetStream API. Raises `Away`, `NoAnswer`, `Refused`."""
        try:
            return (await self._request(f"$JS.API.{subject}", data, timeout_s=READ_WITHIN_S)).data
        except nats.errors.NoRespondersError as error:
            raise Refused("JetStream does not answer: is it switched on in the server?") from error
