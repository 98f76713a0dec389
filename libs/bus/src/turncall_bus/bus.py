"""What a bus does, whoever carries it: NATS (`turncall_bus.nats`) or memory (`turncall_bus.memory`)."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from turncall_proto.subjects import StreamSpec


class BusError(Exception):
    """The bus could not do what was asked; the subclass says why."""


class Away(BusError):
    """There is no connection. Raised at once: nothing is buffered to be replayed minutes later."""


class NobodyListens(BusError):
    """No subscriber exists on the subject that was asked."""


class NoAnswer(BusError):
    """The deadline passed, or the connection broke, before an answer came. Whether the other side acted is unknown."""


class Refused(BusError):
    """The server refused the message: the stream is full, missing, or the message is too large."""


class NotLast(Refused):
    """``expect_last`` did not hold: somebody else published on the subject first."""


class Postponed(Exception):
    """Raised by the work on a job that is to be done again in ``delay_s``, by whoever is free. It is no failure."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"to be done again in {delay_s:g} s")
        self.delay_s = delay_s


class Ack(Struct, frozen=True, kw_only=True):
    """Where a published message lies. ``is_duplicate`` says that its message id was already there."""

    stream: str
    stream_seq: int
    is_duplicate: bool


class Stored(Struct, frozen=True, kw_only=True):
    """One message read back from a stream, in stream order."""

    subject: str
    stream_seq: int
    data: bytes


class Delivered(Struct, frozen=True, kw_only=True):
    """One message handed to a durable consumer; ``delivery`` counts from 1."""

    subject: str
    stream_seq: int
    delivery: int
    data: bytes


class Parked(Struct, frozen=True, kw_only=True):
    """A poison message as it lies in the dead stream, in JSON (``data`` in base64), with what its handler said."""

    stream: str
    durable: str
    subject: str
    stream_seq: int
    error: str
    data: bytes
    parked_at: datetime | None = None


class Fill(Struct, frozen=True, kw_only=True):
    """How full a stream is."""

    messages: int
    size_bytes: int


class Subscription(Protocol):
    """A live interest in a subject or a stream."""

    async def close(self) -> None:
        """Stops it and waits until its running handlers are done. Safe to call twice."""
        ...


class Bus(Protocol):
    """The operations that both planes are written against."""

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached this instant."""
        ...

    async def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Creates or updates the streams; safe to run from many processes at once."""
        ...

    async def publish(
        self, subject: str, data: bytes, *, message_id: str, expect_last: int | None = None, timeout_s: float = 2.0
    ) -> Ack:
        """Stores a message in its stream and returns once the server has it.

        A repeat of ``message_id`` within the stream's window is not stored again. ``expect_last`` is the stream
        sequence that must be the last one on this subject (0: none yet); it is looked at first, so the repeat of a
        publish that did hold raises `NotLast`, and `last` tells whose it is. Raises `Away`, `NoAnswer`, `Refused`,
        `NotLast`.
        """
        ...

    async def tell(self, subject: str, data: bytes) -> None:
        """Core publish, at most once. Raises `Away`."""
        ...

    async def ask(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """Core request; the first answer. Raises `Away`, `NobodyListens`, `NoAnswer`."""
        ...

    async def serve(
        self, subject: str, answer: Callable[[bytes], Awaitable[bytes]], *, queue: str = "", at_once: int = 64
    ) -> Subscription:
        """Answers requests, ``at_once`` of them in parallel at most; replicas with one ``queue`` share them.

        An answer that raises is logged, and the asker gets `NoAnswer` by its own deadline.
        """
        ...

    async def hear(self, subject: str, heard: Callable[[str, bytes], Awaitable[None]]) -> Subscription:
        """Core subscription: ``heard(subject, data)`` for each message, one after another, in order.

        Messages that arrive while 10,000 wait are dropped and counted.
        """
        ...

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
        """Pulls batches for ever: ``handle`` returns and they are acked, it raises and they come again with a back-off.

        A batch that failed is retried message by message, so that one poison message does not hold the others. A
        message that failed ``park_after`` times on its own, while others went through, is moved to the dead stream as
        a `Parked`; while nothing goes through it is the handler that is broken, and messages wait instead.
        With ``reads_ahead`` the next batch is fetched while one is handled: for short work, since it is kept from other
        processes meanwhile, and comes again when ``redeliver_after_s`` has passed.
        While the server is away the loop waits and goes on. Raises `Away`, `NoAnswer`, `Refused` when it cannot begin.
        """
        ...

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
        """Works jobs off for ever, ``at_once`` side by side: ``work`` returns and the job is acked, it raises and the
        job comes again with a back-off, to whichever process is free.

        A job may take as long as it likes: it is held while it runs. ``lease_s`` is after how long another process gets
        what a dead or frozen one had, so work must be idempotent. Jobs fail and are parked as in `consume`, but for
        `Postponed`. Closing
        waits for the jobs in hand; a close that is cancelled cuts them off and gives them back.
        Raises `Away`, `NoAnswer`, `Refused` when it cannot begin.
        """
        ...

    async def last(self, subject: str) -> bytes | None:
        """The newest message on a subject by direct get; None when there is none. Raises `Away`, `NoAnswer`."""
        ...

    async def story(self, subject: str, *, after: int = 0, limit: int | None = None) -> list[Stored]:
        """Every stored message under a filter, oldest first, by batched direct get. Raises `Away`, `NoAnswer`.

        With ``after`` only those behind this stream sequence, with ``limit`` no more than so many.
        """
        ...

    async def remove(self, stream: str, stream_seq: int) -> None:
        """Deletes one stored message; one that is not there is no error. Raises `Away`, `NoAnswer`, `Refused`."""
        ...

    async def fill(self, stream: str) -> Fill:
        """How full a stream is. Raises `Away`, `NoAnswer`, `Refused`."""
        ...

    async def purge(self, subject: str) -> None:
        """Deletes every stored message under a subject filter. Raises `Away`, `NoAnswer`."""
        ...

    async def close(self) -> None:
        """Closes every subscription, flushes and disconnects. Safe to call twice."""
        ...
