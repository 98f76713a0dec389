"""What all calls share: time, journal, webhooks, faults, a voice; and the reports that a call sends about itself."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Protocol

import aiohttp
from aiohttp import CookieJar

from turncall_phone.accounts import Account
from turncall_phone.calls import Call, CallPlan, Subscription
from turncall_phone.clock import Clock, sleep
from turncall_phone.conference import Conferences
from turncall_phone.faults import CallbackFault, FaultPlan
from turncall_phone.journal import Alert, Journal, WebhookDropped, WebhookPurpose
from turncall_phone.notices import progress_params
from turncall_phone.speech import Speak
from turncall_phone.ticker import Ticker
from turncall_phone.webhooks import MAX_DOCUMENT_BYTES, Pairs, Webhook, WebhookFailed, WebhookSender


class Subject(Protocol):
    """What requests to the customer are about: a call, or a text."""

    sid: str
    account: Account
    cookies: CookieJar


class Exchange:
    """Owns the requests that calls leave running behind them (status callbacks).

    `branch` rings another phone on behalf of a call: who that is, who is shown there, and the plan of that leg.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        ticker: Ticker,
        faults: FaultPlan,
        session: aiohttp.ClientSession,
        webhooks: WebhookSender,
        speak: Speak,
        handshake_timeout_s: float,
        branch: Callable[[Call, str, str, CallPlan], Call],
    ) -> None:
        self.clock = clock
        self.journal = journal
        self.ticker = ticker
        self.faults = faults
        self.session = session
        self.webhooks = webhooks
        self.speak = speak
        self.handshake_timeout_s = handshake_timeout_s
        self.branch = branch
        self.conferences = Conferences(ticker, clock, self._tell_of_conference)
        self._reports: dict[str, set[asyncio.Task[None]]] = {}
        self._held: dict[str, list[asyncio.Event]] = {}

    def webhook(
        self,
        call: Subject,
        purpose: WebhookPurpose,
        url: str,
        params: Pairs,
        *,
        method: str = "POST",
        max_bytes: int = MAX_DOCUMENT_BYTES,
        signs_port: bool = False,
    ) -> Webhook:
        """A request about `call`, signed with its account's token."""
        return Webhook(
            purpose=purpose,
            url=url,
            params=params,
            method=method,
            auth_token=call.account.auth_token,
            call_sid=call.sid,
            max_bytes=max_bytes,
            signs_port=signs_port,
        )

    def alert(self, call: Subject, code: int, detail: str) -> None:
        """Write one line of the carrier's debugger."""
        self.journal.add(Alert(code=code, detail=detail), call.sid)

    def progress(self, call: Call, event: str, status: str) -> None:
        """Count a progress event of `call`, and report it when its account asked for that event.

        Each report is a request of its own: nothing orders their arrival but the SequenceNumber.
        """
        sequence, call.sequence = call.sequence, call.sequence + 1
        wanted = call.plan.subscription
        if wanted is None or event not in wanted.events:
            return
        params = progress_params(call, status=status, sequence=sequence, at=self.clock.now())
        self.report(call, self.webhook(call, "status", wanted.url, params, method=wanted.method), event)

    def report(
        self, call: Subject, hook: Webhook, event: str, send: Callable[[Webhook], Awaitable[None]] | None = None
    ) -> None:
        """Send a callback in the background, by `send` if that is given, through the faults that strike `event`."""
        fault = self.faults.strike(CallbackFault, lambda f: f.event in ("", event), call.sid)
        if fault is not None and fault.effect == "drop":
            self.journal.add(WebhookDropped(purpose=hook.purpose, url=hook.url, params=hook.params), call.sid)
            return
        self._run(call, self._deliver(call, hook, fault, send or partial(self._send, call)))

    def _tell_of_conference(self, call: Call, told: Subscription, event: str, params: Pairs) -> None:
        self.report(call, self.webhook(call, "conference", told.url, params, method=told.method), event)

    async def reported(self, call: Subject) -> None:
        """Wait until every report of `call` is delivered or given up (15 s each at most)."""
        while running := self._reports.get(call.sid):
            await asyncio.wait(running)
        self._held.pop(call.sid, None)

    async def close(self) -> None:
        """Give up what still runs."""
        running = [task for tasks in self._reports.values() for task in tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def now(self) -> datetime:
        """Aware UTC wall time."""
        return self.clock.now()

    def _run(self, call: Subject, work: Coroutine[None, None, None]) -> None:
        tasks = self._reports.setdefault(call.sid, set())
        task = asyncio.create_task(work, name=f"report {call.sid}")
        tasks.add(task)

        def done(_: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not tasks:
                self._reports.pop(call.sid, None)

        task.add_done_callback(done)

    async def _deliver(
        self, call: Subject, hook: Webhook, fault: CallbackFault | None, send: Callable[[Webhook], Awaitable[None]]
    ) -> None:
        overtaken = self._held.pop(call.sid, []) if fault is None or fault.effect != "hold" else []
        if fault is not None and fault.effect == "delay":
            await sleep(self.clock, fault.delay_s)
        if fault is not None and fault.effect == "hold":
            await self._overtaken(call, fault.delay_s)
        try:
            for _ in range(2 if fault is not None and fault.effect == "duplicate" else 1):
                await send(hook)
        finally:
            for waiting in overtaken:
                waiting.set()

    async def _overtaken(self, call: Subject, limit_s: float) -> None:
        waiting = asyncio.Event()
        self._held.setdefault(call.sid, []).append(waiting)
        limit = asyncio.ensure_future(sleep(self.clock, limit_s))
        passed = asyncio.ensure_future(waiting.wait())
        try:
            await asyncio.wait({limit, passed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
            passed.cancel()

    async def _send(self, call: Subject, hook: Webhook) -> None:
        try:
            answer = await self.webhooks.send(hook, call.cookies)
        except WebhookFailed as failure:
            self.alert(call, failure.code, f"{hook.purpose} callback: {failure.detail}")
            return
        if not 200 <= answer.status < 300:
            self.alert(call, 15003, f"{hook.purpose} callback to {answer.url} answered {answer.status}")
