"""Accounts, numbers and phones, and the calls that go through them: the carrier without its HTTP server."""

import asyncio
import ssl
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from turncall_phone.accounts import Account, Number, NumberBook
from turncall_phone.caller import Answers, AnyPhone, AnyStep
from turncall_phone.calls import Call, CallBook, CallPlan, CallStatus, Direction, EndOrder, Instruction, Subscription
from turncall_phone.clock import Clock, RealClock
from turncall_phone.exchange import Exchange
from turncall_phone.faults import FaultPlan
from turncall_phone.journal import Journal
from turncall_phone.lifecycle import carry_child, carry_inbound, carry_outbound
from turncall_phone.overrides import Overrides
from turncall_phone.speech import Speak, default_speak
from turncall_phone.texts import TextOffice
from turncall_phone.ticker import Ticker
from turncall_phone.webhooks import WebhookSender

CLOSE_GRACE_S = 5.0


class NotOurNumber(ValueError):
    """The dialed number belongs to no account of this carrier, or has no voice URL."""


class Switchboard:
    """Places and carries calls. Enter it to run; leave it to end every call.

    `calls_per_s` bounds how fast an account's REST calls leave the queue; None lets them go at once. `tls` is used for
    customers' https and wss URLs. `webhook_limits` are the times and retries of webhooks whose URL asks for no others.
    """

    def __init__(
        self,
        accounts: Sequence[Account],
        *,
        clock: Clock | None = None,
        speak: Speak | None = None,
        calls_per_s: float | None = None,
        default_phone: AnyPhone | None = None,
        webhook_limits: Overrides | None = None,
        handshake_timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.accounts = {account.sid: account for account in accounts}
        self.numbers = NumberBook()
        for account in accounts:
            for phone_number in account.numbers:
                self.numbers.add(account.sid, phone_number, self.clock.now())
        self.calls = CallBook()
        self.journal = Journal(self.clock)
        self.faults = FaultPlan(self.journal)
        self.ticker = Ticker(self.clock)
        self.speak = speak or default_speak()
        self._calls_per_s = calls_per_s
        self._next_slot_s: dict[str, float] = {}
        self._default_phone = default_phone or Answers()
        self._phones: dict[str, AnyPhone] = {}
        self._webhook_limits = webhook_limits or Overrides()
        self._handshake_timeout_s = handshake_timeout_s
        self._tls = tls
        self._exchange: Exchange | None = None
        self.texts = TextOffice(self.numbers, self.accounts, lambda: self.exchange)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: list[Exception] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit=0)
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            await stack.enter_async_context(session)
            self._exchange = self._compose(session)
            stack.push_async_callback(self._exchange.close)
            beat = asyncio.create_task(self.ticker.run(), name="carrier ticker")
            stack.push_async_callback(_stop, beat)
            stack.push_async_callback(self._end_calls)
            stack.push_async_callback(self.texts.close)
            await self.open(stack)
            self._stack = stack.pop_all()
        return self

    async def open(self, stack: AsyncExitStack) -> None:
        """Start what a carrier adds to its calls; whatever `stack` is given closes before the calls end."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        if self._failures and error is None:
            raise ExceptionGroup("calls failed inside the carrier", self._failures)

    async def dial(self, *, to: str, from_: str, script: Sequence[AnyStep] = ()) -> Call:
        """Place an inbound call from a person at `from_` to the owned number `to`; returns while it rings.

        The script runs from the answer. Raises NotOurNumber.
        """
        number = self.numbers.find(to)
        if number is None:
            raise NotOurNumber("no account of this carrier owns the dialed number: add it first")
        if not number.voice_url:
            raise NotOurNumber("the dialed number has no voice URL: configure it first")
        call = self._new_call(self.accounts[number.account_sid], "inbound", to, from_, _inbound_plan(number))
        call.enter(CallStatus.RINGING)
        self._start(call, carry_inbound(call, self.exchange, tuple(script)))
        return call

    def place(self, account: Account, *, to: str, from_: str, plan: CallPlan) -> Call:
        """Queue an outbound call for `account`; it is dialed when the account's rate allows."""
        call = self._new_call(account, "outbound-api", to, from_, plan)
        self._start(call, carry_outbound(call, self.exchange, self.phone(to), self._slot_s(account)))
        return call

    def phone(self, to: str) -> AnyPhone:
        """How the phone at `to` behaves."""
        return self._phones.get(to, self._default_phone)

    def expect(self, to: str, phone: AnyPhone) -> None:
        """Say how the phone at `to` behaves when it is called."""
        self._phones[to] = phone

    def configure(
        self,
        phone_number: str,
        *,
        voice_url: str = "",
        voice_fallback_url: str = "",
        status_callback: str = "",
        sms_url: str = "",
        sms_fallback_url: str = "",
    ) -> Number:
        """Point an owned number at a customer, all by POST; raises NotOurNumber."""
        number = self.numbers.find(phone_number)
        if number is None:
            raise NotOurNumber("no account of this carrier owns that number: add it first")
        changed = msgspec.structs.replace(
            number,
            voice_url=voice_url,
            voice_method="POST",
            voice_fallback_url=voice_fallback_url,
            voice_fallback_method="POST",
            status_callback=status_callback,
            status_callback_method="POST",
            sms_url=sms_url,
            sms_method="POST",
            sms_fallback_url=sms_fallback_url,
            sms_fallback_method="POST",
            updated_at=self.clock.now(),
        )
        return self.numbers.replace(changed)

    @property
    def exchange(self) -> Exchange:
        """What the calls share; raises RuntimeError before the carrier is entered."""
        if self._exchange is None:
            raise RuntimeError("the carrier is not running: enter it with `async with`")
        return self._exchange

    def _compose(self, session: aiohttp.ClientSession) -> Exchange:
        sender = WebhookSender(
            session, clock=self.clock, journal=self.journal, faults=self.faults, defaults=self._webhook_limits
        )
        return Exchange(
            clock=self.clock,
            journal=self.journal,
            ticker=self.ticker,
            faults=self.faults,
            session=session,
            webhooks=sender,
            speak=self.speak,
            handshake_timeout_s=self._handshake_timeout_s,
            branch=self._branch,
        )

    def _branch(self, parent: Call, to: str, from_: str, plan: CallPlan) -> Call:
        """Ring the phone at `to` for a call that wants to be connected to it."""
        child = self._new_call(parent.account, "outbound-dial", to, from_, plan, parent.sid)
        self._start(child, carry_child(child, self.exchange, self.phone(to)))
        return child

    def _slot_s(self, account: Account) -> float:
        """When the account's next call may leave the queue."""
        slot_s = max(self.clock.monotonic_s(), self._next_slot_s.get(account.sid, 0.0))
        if self._calls_per_s is not None:
            self._next_slot_s[account.sid] = slot_s + 1 / self._calls_per_s
        return slot_s

    def _new_call(
        self, account: Account, direction: Direction, to: str, from_: str, plan: CallPlan, parent_sid: str = ""
    ) -> Call:
        call = Call(
            account=account,
            direction=direction,
            to=to,
            from_=from_,
            plan=plan,
            journal=self.journal,
            clock=self.clock,
            parent_sid=parent_sid,
        )
        self.calls.add(call)
        return call

    def _start(self, call: Call, carrying: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._carry(call, carrying), name=f"carry {call.sid}")
        self._tasks[call.sid] = task
        task.add_done_callback(lambda _: self._tasks.pop(call.sid, None))

    async def _carry(self, call: Call, carrying: Coroutine[None, None, None]) -> None:
        try:
            await carrying
        except Exception as error:  # noqa: BLE001 - a task's boundary: raised again when the carrier is left
            self._failures.append(error)
            call.enter(CallStatus.FAILED)
        await self.exchange.reported(call)
        call.settle()

    async def _end_calls(self) -> None:
        for call in self.calls.live():
            call.order(EndOrder(by="carrier"))
        running = set(self._tasks.values())
        if running:
            _, late = await asyncio.wait(running, timeout=CLOSE_GRACE_S)
            for task in late:
                await _stop(task)


def _inbound_plan(number: Number) -> CallPlan:
    reports = Subscription(url=number.status_callback, method=number.status_callback_method)
    return CallPlan(
        instruction=Instruction(url=number.voice_url, method=number.voice_method),
        fallback_url=number.voice_fallback_url,
        fallback_method=number.voice_fallback_method,
        subscription=reports if number.status_callback else None,
    )


async def _stop(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait for it; what it had failed with rises."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
