"""One call of the carrier: its state, its line, and what may be asked of it while it lives."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec
from aiohttp import CookieJar

from turncall_phone.accounts import Account
from turncall_phone.clock import Clock
from turncall_phone.journal import Entry, Journal, KeyPressed, Spoke, StatusChanged
from turncall_phone.line import Line
from turncall_phone.mulaw import Samples
from turncall_phone.sids import new_sid

# A long-running carrier forgets the oldest ended calls beyond this many: each holds two recordings.
KEPT_CALLS = 1000


class CallStatus(StrEnum):
    """Twilio's call states; `initiated` exists in callbacks only."""

    QUEUED = "queued"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    FAILED = "failed"
    NO_ANSWER = "no-answer"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """No state follows."""
        return self not in (CallStatus.QUEUED, CallStatus.RINGING, CallStatus.IN_PROGRESS)


type Direction = Literal["inbound", "outbound-api", "outbound-dial"]


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """What to run next: TwiML to fetch from `url`, or given inline in `twiml`. `extra` joins the call's parameters."""

    url: str = ""
    method: str = "POST"
    twiml: str = ""
    purpose: Literal["voice", "action", "redirect"] = "voice"
    extra: tuple[tuple[str, str], ...] = ()


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Where progress is reported, and which of `initiated`, `ringing`, `answered`, `completed`."""

    url: str
    method: str = "POST"
    events: frozenset[str] = frozenset({"completed"})


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """How the carrier finds out whether a machine has answered (`MachineDetection…`); times as the vendor has them.

    `waits_for_end`: until a machine's greeting is over. With a `callback` the call goes on meanwhile (`AsyncAmd`).
    """

    waits_for_end: bool = False
    timeout_s: float = 30.0
    speech_ms: int = 2400
    speech_end_ms: int = 1200
    silence_ms: int = 5000
    callback: Subscription | None = None


class CallPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is to do; REST may change it while the call lives."""

    instruction: Instruction
    fallback_url: str = ""
    fallback_method: str = "POST"
    subscription: Subscription | None = None
    ring_timeout_s: float = 60.0
    time_limit_s: float | None = None
    send_digits: str = ""
    detection: Detection | None = None


class EndOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to end the call; `status` overrides what would follow from its state."""

    by: Literal["caller", "api", "limit", "carrier", "script"]
    status: CallStatus | None = None


class RedirectOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to drop what runs and to go on with `instruction`."""

    instruction: Instruction


class CallOver(RuntimeError):
    """The call has ended and takes no more orders."""


class Call:
    """A call as its account, its caller and a test see it. Only the exchange moves it from state to state."""

    def __init__(
        self,
        *,
        account: Account,
        direction: Direction,
        to: str,
        from_: str,
        plan: CallPlan,
        journal: Journal,
        clock: Clock,
        parent_sid: str = "",
    ) -> None:
        self.parent_sid = parent_sid
        self.sid = new_sid("CA")
        self.account = account
        self.direction: Direction = direction
        self.to = to
        self.from_ = from_
        self.plan = plan
        self.line = Line()
        self.cookies = CookieJar(unsafe=True)
        self.status = CallStatus.QUEUED
        self.created_at = clock.now()
        self.updated_at = self.created_at
        self.answered_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.answered_s: float | None = None
        self.ended_s: float | None = None
        self.queued_ms = 0
        self.sip_code = 200
        self.answered_by = ""
        self._beeped_at_sample: int | None = None
        self.sequence = 0
        self.journal_of_carrier = journal
        self.orders: asyncio.Queue[EndOrder | RedirectOrder] = asyncio.Queue(64)
        # The `action` of the verb that runs: asked once more with a final status when the caller hangs up in it.
        self.running_action: Instruction | None = None
        self._clock = clock
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """The call is in a final state."""
        return self.status.is_final

    @property
    def heard(self) -> bytes:
        """What the caller heard since the answer: mono s16le at 8 kHz, silence where nothing played."""
        return self.line.heard

    @property
    def said(self) -> bytes:
        """What the caller said, on the same time line as `heard`."""
        return self.line.said

    @property
    def recorded(self) -> bytes:
        """What an answering machine recorded: all that was heard since its beep; empty before it."""
        return b"" if self._beeped_at_sample is None else self.heard[2 * self._beeped_at_sample :]

    @property
    def has_beeped(self) -> bool:
        """The called machine has sounded its tone."""
        return self._beeped_at_sample is not None

    def note_beep(self) -> None:
        """The called machine begins to record."""
        self._beeped_at_sample = self.line.position

    @property
    def heard_texts(self) -> tuple[str, ...]:
        """What the carrier's own voice (<Say>) told the caller."""
        return tuple(fact.text for fact in self.journal_of_carrier.facts(Spoke, self.sid))

    @property
    def journal(self) -> tuple[Entry, ...]:
        """This call's entries, oldest first."""
        return self.journal_of_carrier.entries(self.sid)

    @property
    def agent_speaking(self) -> bool:
        """The caller hears sound above the speech threshold, gaps under 300 ms included."""
        return self.line.agent.is_speaking

    @property
    def duration_s(self) -> int:
        """Whole seconds from answer to end (or until this moment); 0 when nobody answered."""
        if self.answered_s is None:
            return 0
        end_s = self._clock.monotonic_s() if self.ended_s is None else self.ended_s
        return max(0, round(end_s - self.answered_s))

    def enter(self, status: CallStatus) -> None:
        """Move to `status`, note its time, and tell whoever waits; a final state is never left."""
        if self.status.is_final or status is self.status:
            return
        self.status = status
        self.updated_at = self._clock.now()
        if status is CallStatus.IN_PROGRESS:
            self.answered_at, self.answered_s = self.updated_at, self._clock.monotonic_s()
        if status.is_final:
            self.ended_at, self.ended_s = self.updated_at, self._clock.monotonic_s()
        self.journal_of_carrier.add(StatusChanged(status=status), self.sid)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def settle(self) -> None:
        """Note that the last webhook of this call has been answered or given up."""
        self._settled.set()

    async def reached(self, wanted: Callable[[CallStatus], bool], *, timeout_s: float) -> CallStatus:
        """The first status from this instant on for which `wanted` holds; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not wanted(self.status):
                await self._changed.wait()
            return self.status

    async def answered(self, *, timeout_s: float) -> CallStatus:
        """Wait until the call is in progress or over; raises TimeoutError."""
        return await self.reached(lambda s: s.is_final or s is CallStatus.IN_PROGRESS, timeout_s=timeout_s)

    async def ended(self, *, timeout_s: float) -> CallStatus:
        """The final status, as soon as there is one; raises TimeoutError."""
        return await self.reached(lambda s: s.is_final, timeout_s=timeout_s)

    async def settled(self, *, timeout_s: float) -> None:
        """Wait until the call is over and all its webhooks are done; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await self._settled.wait()

    def say(self, samples: Samples) -> None:
        """Let the caller say `samples` (int16 at 8 kHz) after what is being said; raises CallOver."""
        self._refuse_when_over()
        self.line.mouth.feed(samples)

    def press(self, digit: str) -> None:
        """Press one key; raises CallOver."""
        self._refuse_when_over()
        self.journal_of_carrier.add(KeyPressed(digit=digit, taken=self.line.press(digit)), self.sid)

    def hang_up(self) -> None:
        """The caller (or the called person) puts the phone down; nothing happens when the call is over."""
        if not self.is_over:
            self.order(EndOrder(by="caller"))

    def order(self, order: EndOrder | RedirectOrder) -> None:
        """Hand an order to the exchange; raises CallOver."""
        self._refuse_when_over()
        self.orders.put_nowait(order)

    def _refuse_when_over(self) -> None:
        if self.is_over:
            raise CallOver(f"call {self.sid} is over ({self.status}): it takes no more orders")


class CallBook:
    """The calls of all accounts, oldest first; the newest 1,000 ended ones are kept."""

    def __init__(self) -> None:
        self._by_sid: dict[str, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._by_sid.values()))

    def add(self, call: Call) -> None:
        """Take a new call in."""
        ended = [c.sid for c in self._by_sid.values() if c.is_over]
        for sid in ended[: max(0, len(ended) - KEPT_CALLS)]:
            del self._by_sid[sid]
        self._by_sid[call.sid] = call

    def find(self, sid: str, account_sid: str | None = None) -> Call | None:
        """The call with this SID, of one account when that is given."""
        call = self._by_sid.get(sid)
        return call if call is not None and account_sid in (None, call.account.sid) else None

    def forget(self, call: Call) -> None:
        """Remove the record of an ended call."""
        self._by_sid.pop(call.sid, None)

    def live(self) -> tuple[Call, ...]:
        """The calls that are not over."""
        return tuple(c for c in self if not c.is_over)
