"""Everything the carrier sent, received and decided, in order: what tests assert on and terminals print."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

import msgspec

from turncall_phone.clock import Clock

KEPT_ENTRIES = 200_000
FOLLOWER_ENTRIES = 10_000

type WebhookPurpose = Literal[
    "voice",
    "action",
    "redirect",
    "fallback",
    "status",
    "stream-status",
    "media",
    "amd",
    "conference",
    "text",
    "text-status",
]


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """One kind of thing that happened; the subclass says which."""


class StatusChanged(Fact, frozen=True, kw_only=True, tag="status"):
    """The call entered `status`."""

    status: str


class WebhookSent(Fact, frozen=True, kw_only=True, tag="webhook"):
    """One attempt of one HTTP request to the customer, with what came back.

    `status` is None when no answer came, and `failure` then says why. `latency_ms` runs until the answer's last byte.
    """

    purpose: WebhookPurpose
    method: str
    url: str
    params: tuple[tuple[str, str], ...]
    attempt: int
    signature: str
    status: int | None
    failure: str | None
    latency_ms: float
    answer_bytes: int


class WebhookDropped(Fact, frozen=True, kw_only=True, tag="webhook_dropped"):
    """A fault swallowed this request before it was sent."""

    purpose: WebhookPurpose
    url: str
    params: tuple[tuple[str, str], ...]


class TwimlReceived(Fact, frozen=True, kw_only=True, tag="twiml"):
    """A document began to run."""

    document: str
    verbs: tuple[str, ...]


class Spoke(Fact, frozen=True, kw_only=True, tag="spoke"):
    """The carrier's own voice began to say `text` to the caller; `at_ms` counts from the answer."""

    text: str
    at_ms: int


class KeyPressed(Fact, frozen=True, kw_only=True, tag="key"):
    """The caller pressed one key; `taken` says whether anything listened."""

    digit: str
    taken: bool


class StreamOpened(Fact, frozen=True, kw_only=True, tag="stream_opened"):
    """A media socket was accepted and `start` was sent."""

    stream_sid: str
    url: str
    parameters: tuple[tuple[str, str], ...]


class StreamMark(Fact, frozen=True, kw_only=True, tag="mark"):
    """A mark was set (`received`), came back as played, or came back because of a clear."""

    stream_sid: str
    name: str
    event: Literal["received", "played", "cleared"]
    at_ms: int


class StreamCleared(Fact, frozen=True, kw_only=True, tag="clear"):
    """The peer asked to drop what was queued."""

    stream_sid: str
    dropped_ms: int
    at_ms: int


class StreamClosed(Fact, frozen=True, kw_only=True, tag="stream_closed"):
    """A media socket ended; the counts summarise its messages.

    `by` is `peer` (the server closed it), `loss` (the connection broke) or `carrier` (hang-up or new TwiML).
    `close_code` is what the peer's close frame said.
    """

    stream_sid: str
    by: Literal["peer", "loss", "carrier"]
    close_code: int | None
    frames_sent: int
    frames_dropped: int
    media_received: int
    audio_received_ms: int
    marks_received: int
    clears_received: int


class TextMoved(Fact, frozen=True, kw_only=True, tag="text"):
    """A text entered `status`; a delivered one is on its phone from here on. `error_code` says why it is not."""

    status: str
    from_: str = msgspec.field(name="from")
    to: str
    body: str
    error_code: int | None = None


class ScriptEnded(Fact, frozen=True, kw_only=True, tag="script"):
    """The caller's script came to its end; `failure` names the step that did not get what it waited for."""

    failure: str | None


class Alert(Fact, frozen=True, kw_only=True, tag="alert"):
    """What the carrier's debugger would show, by its error code."""

    code: int
    detail: str


class RestAnswered(Fact, frozen=True, kw_only=True, tag="rest"):
    """One request to the REST face and its answer; `code` is the error code of the body."""

    method: str
    path: str
    form: tuple[tuple[str, str], ...]
    status: int
    code: int | None


class FaultStruck(Fact, frozen=True, kw_only=True, tag="fault"):
    """An injected fault took effect."""

    fault_id: int
    fault: str


type AnyFact = (
    StatusChanged
    | WebhookSent
    | WebhookDropped
    | TwimlReceived
    | Spoke
    | KeyPressed
    | StreamOpened
    | StreamMark
    | StreamCleared
    | StreamClosed
    | TextMoved
    | ScriptEnded
    | Alert
    | RestAnswered
    | FaultStruck
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A fact with its number, its times (monotonic seconds, aware UTC) and the call it belongs to."""

    number: int
    at_s: float
    at: datetime
    call_sid: str | None
    fact: AnyFact


class JournalOverrun(RuntimeError):
    """A follower read so slowly that entries would have been lost."""


class Journal:
    """Append-only; the newest 200,000 entries are kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=KEPT_ENTRIES)
        self._count = 0
        self._listeners: dict[Callable[[Entry], None], None] = {}

    def add(self, fact: AnyFact, call_sid: str | None = None) -> Entry:
        """Append `fact` at this instant and tell every follower."""
        self._count += 1
        entry = Entry(
            number=self._count, at_s=self._clock.monotonic_s(), at=self._clock.now(), call_sid=call_sid, fact=fact
        )
        self._entries.append(entry)
        for listener in tuple(self._listeners):
            listener(entry)
        return entry

    def entries(self, call_sid: str | None = None) -> tuple[Entry, ...]:
        """Everything kept, or what belongs to one call, oldest first."""
        return tuple(e for e in self._entries if call_sid is None or e.call_sid == call_sid)

    def facts[F: Fact](self, kind: type[F], call_sid: str | None = None) -> tuple[F, ...]:
        """The facts of one kind, oldest first, of one call or of all."""
        return tuple(e.fact for e in self.entries(call_sid) if isinstance(e.fact, kind))

    async def first(self, wanted: Callable[[Entry], bool], *, timeout_s: float) -> Entry:
        """The first entry, kept or coming, for which `wanted` holds; raises TimeoutError."""
        for entry in self._entries:
            if wanted(entry):
                return entry
        found: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()

        def look(entry: Entry) -> None:
            if not found.done() and wanted(entry):
                found.set_result(entry)

        with self._listening(look):
            async with asyncio.timeout(timeout_s):
                return await found

    async def follow(self, call_sid: str | None = None, *, after: int = 0) -> AsyncIterator[Entry]:
        """Every entry numbered above `after`, kept ones first, then as they come, until the reader stops.

        Raises JournalOverrun when the reader falls 10,000 entries behind.
        """
        queue: asyncio.Queue[Entry] = asyncio.Queue(FOLLOWER_ENTRIES)
        overrun = False

        def push(entry: Entry) -> None:
            nonlocal overrun
            if call_sid is None or entry.call_sid == call_sid:
                try:
                    queue.put_nowait(entry)
                except asyncio.QueueFull:
                    overrun = True

        with self._listening(push):
            for entry in self.entries(call_sid):
                if entry.number > after:
                    yield entry
            while not overrun:
                yield await queue.get()
        raise JournalOverrun("the journal's reader fell behind: read faster, or follow one call")

    @contextmanager
    def _listening(self, listener: Callable[[Entry], None]) -> Iterator[None]:
        self._listeners[listener] = None
        try:
            yield
        finally:
            del self._listeners[listener]
