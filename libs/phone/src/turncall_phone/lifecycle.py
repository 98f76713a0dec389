"""How a call goes from its first ring to its last report; one task per call runs `carry`."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import msgspec

from turncall_phone.caller import Answers, AnyPhone, AnyStep, Busy, Declines, Machine, Unreachable, follow
from turncall_phone.calls import Call, CallStatus, Detection, EndOrder, RedirectOrder, Subscription
from turncall_phone.clock import sleep
from turncall_phone.detection import detect
from turncall_phone.exchange import Exchange
from turncall_phone.line import LineClosed
from turncall_phone.notices import SIP_CODES, call_params
from turncall_phone.tones import dial_tones
from turncall_phone.twiml.interpreter import interpret
from turncall_phone.twiml.leg import Leg
from turncall_phone.webhooks import WebhookFailed

# Between dialing and the first ring.
SETUP_S = 0.02
# What a phone answers whose owner turns the call away (RFC 3261, 21.6.2).
DECLINED = 603


async def carry_inbound(call: Call, exchange: Exchange, script: tuple[AnyStep, ...]) -> None:
    """Run a ringing inbound call: its first document is fetched, and answers it."""
    async with _Far(call, exchange, script) as far:
        await _converse(call, exchange, far)
        far.leave(None)
        await _tell_action(call, exchange)


async def carry_outbound(call: Call, exchange: Exchange, phone: AnyPhone, starts_at_s: float) -> None:
    """Run a call that was asked for through REST: queued until `starts_at_s`, dialed, rung, and carried if answered.

    Cancelled while it is queued, it reports nothing at all.
    """
    script = phone.script if isinstance(phone, Answers | Machine) else ()
    async with _Far(call, exchange, script) as far:
        await _unless_ordered(call, exchange.clock.sleep_until(starts_at_s), far)
        if not call.is_over:
            call.queued_ms = round((exchange.clock.now() - call.created_at).total_seconds() * 1000)
            exchange.progress(call, "initiated", "initiated")
            await _unless_ordered(call, _ring(call, exchange, phone), far)
        if not call.is_over:
            far.answer()
            await _converse(call, exchange, far)
        far.leave(None)
        await _tell_action(call, exchange)


async def carry_child(call: Call, exchange: Exchange, phone: AnyPhone) -> None:
    """Run the leg to a phone that another call is to be connected to: rung, and on the line until either side goes."""
    script = phone.script if isinstance(phone, Answers) else ()
    async with _Far(call, exchange, script) as far:
        exchange.progress(call, "initiated", "initiated")
        await _unless_ordered(call, _ring(call, exchange, phone), far)
        if not call.is_over:
            far.answer()
            await _unless_ordered(call, call.line.until(lambda: False), far)
        far.leave(None)


class _Far:
    """The far end's part of a call: it is on the line from the answer until the end."""

    def __init__(self, call: Call, exchange: Exchange, script: tuple[AnyStep, ...]) -> None:
        self._call = call
        self._exchange = exchange
        self._script = script
        self._tasks: list[asyncio.Task[None]] = []
        self._has_left = False

    def answer(self) -> None:
        """Pick up: the line begins to tick and the script to run; nothing happens when that was done."""
        call, exchange = self._call, self._exchange
        if call.status is CallStatus.IN_PROGRESS or call.is_over:
            return
        call.enter(CallStatus.IN_PROGRESS)
        exchange.ticker.add(call.line)
        if call.direction != "inbound":
            exchange.progress(call, "answered", CallStatus.IN_PROGRESS)
        if self._script:
            self._start(follow(self._script, call, exchange.speak))
        detection = call.plan.detection
        if detection is not None and detection.callback is not None:
            self._start(self._tell_who_answered(detection, detection.callback))
        if call.plan.time_limit_s is not None:
            self._start(self._limit(call.plan.time_limit_s))

    def leave(self, order: EndOrder | None) -> None:
        """Put the phone down and report the end, once; the status follows from `order` or from what the call was."""
        call = self._call
        if self._has_left:
            return
        self._has_left = True
        if order is not None and order.status is not None:
            _finish(call, order.status)
        _finish(call, CallStatus.COMPLETED if call.answered_at is not None else CallStatus.NO_ANSWER)
        self._exchange.ticker.remove(call.line)
        if call.direction == "inbound" or call.sequence > 0:
            self._exchange.progress(call, "completed", call.status)

    async def __aenter__(self) -> "_Far":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._exchange.ticker.remove(self._call.line)
        self._call.line.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"far end {self._call.sid}"))

    async def _tell_who_answered(self, detection: Detection, callback: Subscription) -> None:
        call, exchange = self._call, self._exchange
        with suppress(LineClosed):
            found = await detect(call, detection)
            params = (("AccountSid", call.account.sid), ("CallSid", call.sid), *found)
            exchange.report(call, exchange.webhook(call, "amd", callback.url, params, method=callback.method), "amd")

    async def _limit(self, seconds: float) -> None:
        await sleep(self._exchange.clock, seconds)
        if not self._call.is_over:
            self._call.order(EndOrder(by="limit"))


async def _ring(call: Call, exchange: Exchange, phone: AnyPhone) -> None:
    """Ring the phone; returns when it is picked up, or with the call in the final state that the phone led to."""
    await sleep(exchange.clock, SETUP_S)
    if isinstance(phone, Unreachable):
        _finish(call, CallStatus.FAILED)
        return
    call.enter(CallStatus.RINGING)
    exchange.progress(call, "ringing", CallStatus.RINGING)
    rings_s = phone.after_s if isinstance(phone, Answers | Machine | Busy | Declines) else call.plan.ring_timeout_s
    await sleep(exchange.clock, min(rings_s, call.plan.ring_timeout_s))
    if isinstance(phone, Busy | Declines) and phone.after_s <= call.plan.ring_timeout_s:
        _finish(call, CallStatus.BUSY, sip_code=DECLINED if isinstance(phone, Declines) else None)
    elif not isinstance(phone, Answers | Machine) or phone.after_s > call.plan.ring_timeout_s:
        _finish(call, CallStatus.NO_ANSWER)


async def _converse(call: Call, exchange: Exchange, far: _Far) -> None:
    """Run documents until they end or an order ends the call; an order to redirect starts over."""
    leg = Leg(call=call, exchange=exchange, answer=far.answer)
    order = await _unless_ordered(call, _opening(call, leg), far)
    while order is not None:
        call.running_action = None
        order = await _unless_ordered(call, interpret(order.instruction, leg), far)


async def _opening(call: Call, leg: Leg) -> None:
    if call.plan.send_digits:
        await call.line.play(dial_tones(call.plan.send_digits))
    instruction, detection = call.plan.instruction, call.plan.detection
    if detection is not None and detection.callback is None:
        found = await detect(call, detection)
        instruction = msgspec.structs.replace(instruction, extra=instruction.extra + found)
    await interpret(instruction, leg)


async def _unless_ordered(call: Call, work: Coroutine[None, None, None], far: _Far) -> RedirectOrder | None:
    """Do `work`; an order that comes first cancels it, and lets it clean up after itself.

    Returns an order to redirect. An order to end is obeyed before the clean-up, which may have to wait for a peer.
    """
    working = asyncio.create_task(work, name=f"call {call.sid}")
    ordered = asyncio.create_task(call.orders.get(), name=f"orders {call.sid}")
    try:
        await asyncio.wait({working, ordered}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        if not ordered.done():
            return None
        order = ordered.result()
        if isinstance(order, RedirectOrder):
            return order
        far.leave(order)
        return None
    finally:
        for task in (working, ordered):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _tell_action(call: Call, exchange: Exchange) -> None:
    """Ask the `action` of the verb that the end of the call interrupted; its answer changes nothing any more."""
    action, call.running_action = call.running_action, None
    if action is None:
        return
    params = call_params(call) + action.extra
    hook = exchange.webhook(call, "action", action.url, params, method=action.method)
    try:
        await exchange.webhooks.send(hook, call.cookies)
    except WebhookFailed as failure:
        exchange.alert(call, failure.code, f"action after the end: {failure.detail}")


def _finish(call: Call, status: CallStatus, sip_code: int | None = None) -> None:
    if not call.is_over:
        call.sip_code = SIP_CODES[status] if sip_code is None else sip_code
        call.enter(status)
