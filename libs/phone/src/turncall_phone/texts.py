"""The carrier's office for texts: takes them from customers and from phones, and carries each to the other side."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from urllib.parse import urldefrag

from turncall_phone.accounts import Account, NumberBook
from turncall_phone.clock import sleep
from turncall_phone.exchange import Exchange
from turncall_phone.journal import TextMoved
from turncall_phone.notices import text_params
from turncall_phone.texting import (
    HELP_WORDS,
    START_WORDS,
    STOP_WORDS,
    AnyTextPhone,
    Receives,
    Text,
    TextStatus,
    Undeliverable,
)
from turncall_phone.twiml.parser import TwimlRefused, parse_twiml
from turncall_phone.webhooks import Answer, Pairs, Webhook, WebhookFailed

KEPT_TEXTS = 20_000

# What the vendor answers by itself to the words it knows.
STOPPED = "You have successfully been unsubscribed. You will not receive any more messages from this number."
STARTED = "You have successfully been re-subscribed to messages from this number."
HELPED = "Reply STOP to unsubscribe. Msg&Data Rates May Apply."


class NobodyToText(ValueError):
    """The number that a phone writes to belongs to no account, or has no SMS URL."""


class TextOffice:
    """All texts. `expect` says how a phone takes its own, which is at once unless it says otherwise."""

    def __init__(self, numbers: NumberBook, accounts: Mapping[str, Account], exchange: Callable[[], Exchange]) -> None:
        self._numbers = numbers
        self._accounts = accounts
        self._exchange_of = exchange
        self._phones: dict[str, AnyTextPhone] = {}
        self._texts: dict[str, Text] = {}
        self._stopped: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def expect(self, phone_number: str, phone: AnyTextPhone) -> None:
        """Say how the phone at a number takes texts."""
        self._phones[phone_number] = phone

    def phone(self, phone_number: str) -> AnyTextPhone:
        """How the phone at a number takes texts."""
        return self._phones.get(phone_number, Receives())

    def is_stopped(self, from_: str, to: str) -> bool:
        """The person at `to` wants no more texts from the number `from_`."""
        return (from_, to) in self._stopped

    def of_account(self, account_sid: str) -> tuple[Text, ...]:
        """An account's texts, newest first."""
        return tuple(text for text in reversed(self._texts.values()) if text.account.sid == account_sid)

    def find(self, sid: str) -> Text | None:
        """The text with this SID."""
        return self._texts.get(sid)

    def inbox(self, phone_number: str) -> tuple[Text, ...]:
        """What arrived on a phone, in the order in which it was sent; the carrier's own answers are among it."""
        return tuple(
            text
            for text in self._texts.values()
            if text.to == phone_number and text.direction != "inbound" and text.status is TextStatus.DELIVERED
        )

    async def received(self, phone_number: str, count: int = 1, *, timeout_s: float) -> tuple[Text, ...]:
        """What arrived on a phone, once that is `count` texts; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(arrived := self.inbox(phone_number)) < count:  # noqa: ASYNC110 - facts of many tasks
                await asyncio.sleep(0.01)
            return arrived

    def write(self, *, to: str, from_: str, body: str, media: Sequence[tuple[str, str]] = ()) -> Text:
        """A person at `from_` writes to the owned number `to`: its customer is asked. Raises NobodyToText.

        `media` are addresses and content types, which make it an MMS.
        """
        number = self._numbers.find(to)
        if number is None or not number.sms_url:
            raise NobodyToText("the number has no SMS URL: configure it first")
        text = self._new(
            Text(
                account=self._accounts[number.account_sid],
                direction="inbound",
                from_=from_,
                to=to,
                body=body,
                at=self._exchange.now(),
                status=TextStatus.RECEIVED,
                media=media,
            )
        )
        self._mind(text)
        hook = self._exchange.webhook(
            text, "text", number.sms_url, text_params(text), method=number.sms_method, signs_port=True
        )

        async def send(hook: Webhook) -> None:
            await self._ask(text, hook, number.sms_fallback_url, number.sms_fallback_method)

        self._exchange.report(text, hook, "received", send)
        return text

    def send(self, account: Account, *, to: str, from_: str, body: str, status_url: str = "") -> Text:
        """Queue a text of a customer's to the phone at `to`; its progress is told to `status_url`."""
        text = self._new(
            Text(
                account=account,
                direction="outbound-api",
                from_=from_,
                to=to,
                body=body,
                at=self._exchange.now(),
                status=TextStatus.QUEUED,
                status_url=status_url,
            )
        )
        self._run(self._carry(text, self.phone(to)))
        return text

    async def close(self) -> None:
        """Give up what is still on its way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _exchange(self) -> Exchange:
        return self._exchange_of()

    def _new(self, text: Text) -> Text:
        while len(self._texts) >= KEPT_TEXTS:
            del self._texts[next(iter(self._texts))]
        self._texts[text.sid] = text
        self._note(text)
        return text

    def _note(self, text: Text) -> None:
        moved = TextMoved(status=text.status, from_=text.from_, to=text.to, body=text.body, error_code=text.error_code)
        self._exchange.journal.add(moved, text.sid)

    def _mind(self, text: Text) -> None:
        """The words that the carrier itself understands; it answers them, and the customer is asked all the same."""
        word, pair = text.body.strip().upper(), (text.to, text.from_)
        if word in STOP_WORDS and pair not in self._stopped:
            self._stopped.add(pair)
            self._answer(text, STOPPED)
        elif word in START_WORDS and pair in self._stopped:
            self._stopped.remove(pair)
            self._answer(text, STARTED)
        elif word in HELP_WORDS:
            self._answer(text, HELPED)

    def _answer(self, text: Text, body: str) -> None:
        self._new(
            Text(
                account=text.account,
                direction="outbound-reply",
                from_=text.to,
                to=text.from_,
                body=body,
                at=self._exchange.now(),
                status=TextStatus.DELIVERED,
            )
        )

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, text: Text, phone: AnyTextPhone) -> None:
        await asyncio.sleep(0)  # REST answers first, mostly
        self._move(text, TextStatus.SENDING)
        self._move(text, TextStatus.SENT)
        text.sent_at = self._exchange.now()
        await sleep(self._exchange.clock, phone.after_s if isinstance(phone, Receives | Undeliverable) else 0.0)
        if isinstance(phone, Undeliverable):
            text.error_code = phone.code
            self._move(text, TextStatus.UNDELIVERED)
        else:
            self._move(text, TextStatus.DELIVERED)

    def _move(self, text: Text, status: TextStatus) -> None:
        text.status, text.updated_at = status, self._exchange.now()
        self._note(text)
        if text.status_url:
            hook = self._exchange.webhook(text, "text-status", text.status_url, text_params(text), signs_port=True)
            self._exchange.report(text, hook, status)

    async def _ask(self, text: Text, hook: Webhook, fallback_url: str, fallback_method: str) -> None:
        """Ask the customer, then the number's fallback; the person who wrote hears nothing of a failure."""
        try:
            _accept(await self._exchange.webhooks.send(hook, text.cookies))
        except (WebhookFailed, TwimlRefused) as failure:
            self._exchange.alert(text, failure.code, failure.detail)
            error: Pairs = (("ErrorCode", str(failure.code)), ("ErrorUrl", urldefrag(hook.url).url))
        else:
            return
        if not fallback_url:
            return
        again = self._exchange.webhook(
            text, "fallback", fallback_url, hook.params + error, method=fallback_method, signs_port=True
        )
        try:
            _accept(await self._exchange.webhooks.send(again, text.cookies))
        except (WebhookFailed, TwimlRefused) as failure:
            self._exchange.alert(text, failure.code, f"fallback: {failure.detail}")


def _accept(answer: Answer) -> None:
    """Nothing, or a document without verbs; one that wants something said is not emulated."""
    if not 200 <= answer.status < 300:
        raise WebhookFailed(11200, f"{answer.url} answered {answer.status}")
    if answer.body.strip() and (warnings := parse_twiml(answer.body, {}).warnings):
        raise TwimlRefused(12200, f"{warnings[0]}; answer over REST")
