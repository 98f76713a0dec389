"""People, customers' numbers, and what goes between them: the Graph API's server and the sender of webhooks."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Coroutine, Sequence
from datetime import datetime
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from turncall_phone.clock import Clock, RealClock, sleep
from turncall_phone.meta.calls import Calls
from turncall_phone.meta.graph import WINDOW, add_graph
from turncall_phone.meta.messages import (
    App,
    BusinessPhone,
    Json,
    Received,
    change,
    contact,
    new_id,
    told,
    written,
)

SIGNATURE_HEADER = "X-Hub-Signature-256"
RETRY_AFTER_S = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Between tries of a webhook that was not answered with 2xx; Meta goes on for days, with longer pauses."""


class Meta:
    """WhatsApp for one app with some numbers. Enter it to start its server (port 0 takes a free one).

    ``repeats`` brings every webhook so many times more.
    """

    def __init__(
        self, app: App, phones: Sequence[BusinessPhone], *, clock: Clock | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.app = app
        self.phones = {phone.id: phone for phone in phones}
        self.calls = Calls(self)
        self.repeats = 0
        self.marks: dict[str, bool] = {}
        self.posts: list[tuple[int, Json]] = []
        self._host = host
        self._port = 0
        self._received: dict[str, Received] = {}
        self._wrote: dict[tuple[str, str], datetime] = {}
        self._known: set[str] = set()
        self._failing: dict[str, int] = {}
        self._faults: list[tuple[int, bool]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        add_graph(app, self)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0).start()
        self._port = self._runner.addresses[0][1]
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        """What replaces `https://graph.facebook.com`."""
        return f"http://{self._host}:{self._port}"

    # What a test does.

    def write(self, phone: BusinessPhone, *, person: str, text: str) -> str:
        """A person writes to a number; the id of the message."""
        message_id = new_id()
        self.bring(self.letter(phone, person=person, text=text, message_id=message_id))
        return message_id

    def attach(self, phone: BusinessPhone, *, person: str, kind: str, **what: Any) -> None:
        """A person sends an image, audio, document or the like, which the Graph API knows by an id."""
        letter = self.letter(phone, person=person, text="", message_id=new_id())
        message = letter["value"]["messages"][0]
        del message["text"]
        message["type"], message[kind] = kind, what if kind == "location" else {"id": token_hex(8), **what}
        self.bring(letter)

    def letter(self, phone: BusinessPhone, *, person: str, text: str, message_id: str) -> Json:
        """The change that tells of what a person wrote, from where on the number may answer."""
        now = self.clock.now()
        self._wrote[phone.id, person] = now
        self._known.add(message_id)
        return change(phone, contacts=[contact(person)], messages=[written(person, text, now, message_id)])

    def bring(self, *changes: Json) -> None:
        """Send one webhook with these changes, one entry for each, until it is answered with 2xx."""
        entries = [{"id": next(iter(self.phones.values())).account_id, "changes": [one]} for one in changes]
        body = {"object": "whatsapp_business_account", "entry": entries}
        for _ in range(1 + self.repeats):
            self.run(self._deliver(body))

    def inbox(self, person: str) -> tuple[Received, ...]:
        """What is on a person's phone, in the order in which it was sent."""
        return tuple(message for message in self._received.values() if message.person == person)

    async def received(self, person: str, count: int = 1, *, timeout_s: float) -> tuple[Received, ...]:
        """What is on a person's phone, once that is `count` messages; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(arrived := self.inbox(person)) < count:  # noqa: ASYNC110 - facts of many tasks
                await asyncio.sleep(0.01)
            return arrived

    def reads(self, message: Received) -> None:
        """The person opens a message."""
        self._move(message, "read")

    def fail(self, person: str, code: int) -> None:
        """Nothing reaches this person: REST refuses with a code below 131000, a webhook tells of others."""
        self._failing[person] = code

    def break_down(self, status: int, *, is_done: bool = False) -> None:
        """The next request that sends is answered with `status`, after it took effect if `is_done`."""
        self._faults.append((status, is_done))

    def close_window(self, phone: BusinessPhone, person: str) -> None:
        """A day passes since the person wrote."""
        self._wrote.pop((phone.id, person), None)

    # What the Graph API acts on.

    def business_phone(self, phone_id: str) -> BusinessPhone | None:
        """The number with this id."""
        return self.phones.get(phone_id)

    def is_open(self, phone: BusinessPhone, person: str) -> bool:
        """The person has written to the number within 24 hours."""
        at = self._wrote.get((phone.id, person))
        return at is not None and self.clock.now() - at < WINDOW

    def fails(self, person: str) -> int | None:
        """Why nothing reaches this person."""
        return self._failing.get(person)

    def strike(self) -> tuple[int, bool] | None:
        """The failure that is due, if any."""
        return self._faults.pop(0) if self._faults else None

    def mark(self, message_id: str, *, is_typing: bool) -> bool:
        """Note that a message was read, and whether the writer sees somebody type."""
        if message_id not in self._known:
            return False
        self.marks[message_id] = is_typing
        return True

    def take(self, message: Received) -> None:
        """Carry a message to its person, and tell of its progress."""
        code = self._failing.get(message.person)
        if code is not None:
            self.bring(change(message.phone, statuses=[told(message, "failed", self.clock.now(), code)]))
            return
        self._received[message.id] = message
        self._move(message, "sent")
        self._move(message, "delivered")

    def _move(self, message: Received, status: str) -> None:
        message.status = status
        self.bring(change(message.phone, statuses=[told(message, status, self.clock.now())]))

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Have this done, until the server stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, body: Json) -> None:
        raw = json.dumps(body, ensure_ascii=False).encode()
        signature = "sha256=" + hmac.digest(self.app.secret.encode(), raw, hashlib.sha256).hex()
        headers = {SIGNATURE_HEADER: signature, "Content-Type": "application/json"}
        assert self._session is not None  # entered
        for pause_s in (*RETRY_AFTER_S, None):
            try:
                async with self._session.post(self.app.webhook_url, data=raw, headers=headers) as answer:
                    status = answer.status
            except aiohttp.ClientError:
                status = 0
            self.posts.append((status, body))
            if 200 <= status < 300 or pause_s is None:
                return
            await sleep(self.clock, pause_s)
