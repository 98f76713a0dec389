"""The running side of core subscriptions: messages in order, one by one, or requests side by side, both bounded."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

WAITING_MESSAGES: Final = 10_000
"""Messages that may wait for a listener; more are dropped and counted."""
WAITING_REQUESTS: Final = 1024
"""Requests that may wait for a free place; more are dropped and counted, and their askers run into their deadlines."""

_log = logging.getLogger(__name__)

type Reply = Callable[[bytes], Awaitable[None]]


async def finish(tasks: set[asyncio.Task[None]]) -> None:
    """Waits for tasks other than the caller's own to end; a caller that is cancelled cancels them."""
    others = tasks - {asyncio.current_task()}
    if not others:
        return
    try:
        await asyncio.wait(others)
    except asyncio.CancelledError:
        for task in others:
            task.cancel()
        raise


def where(error: BaseException) -> str:
    """The error's class and the place that raised it. Its text is left out, because it may quote the message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"


class Hearing:
    """Hands messages to one listener, one after another, in the order of `offer`."""

    def __init__(self, subject: str, heard: Callable[[str, bytes], Awaitable[None]]) -> None:
        self.dropped = 0
        self._subject = subject
        self._heard = heard
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def offer(self, subject: str, data: bytes) -> None:
        """Takes a message on, or drops and counts it when `WAITING_MESSAGES` wait already."""
        if self._is_closed:
            return
        if len(self._waiting) >= WAITING_MESSAGES:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # at 1, 2, 4, 8 …: a flood must not flood the log
                _log.warning("bus: listener of %s is slow, %d messages dropped", self._subject, self.dropped)
            return
        self._waiting.append((subject, data))
        if not self._running:
            task = asyncio.create_task(self._work(), name=f"hear {self._subject}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self) -> None:
        while self._waiting:
            subject, data = self._waiting.popleft()
            try:
                await self._heard(subject, data)
            except Exception as error:  # noqa: BLE001 - the boundary of one message: the next must be heard
                _log.error("bus: listener of %s failed on %s: %s", self._subject, subject, where(error))
        # The next offer starts a new task; it must not find this one still counted as running.
        self._running.clear()

    async def close(self) -> None:
        """Forgets what waits and returns when the message being heard is done."""
        self._is_closed = True
        self._waiting.clear()
        await finish(self._running)


class Answering:
    """Answers requests side by side, ``at_once`` of them at most."""

    def __init__(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]], at_once: int) -> None:
        self.dropped = 0
        self._subject = subject
        self._answer = answer
        self._at_once = at_once
        self._waiting: deque[tuple[bytes, Reply]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def offer(self, data: bytes, reply: Reply) -> None:
        """Starts on a request, lets it wait, or drops and counts it when `WAITING_REQUESTS` wait already."""
        if self._is_closed:
            return
        if len(self._running) < self._at_once:
            self._start(data, reply)
        elif len(self._waiting) < WAITING_REQUESTS:
            self._waiting.append((data, reply))
        else:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:
                _log.warning("bus: server of %s is full, %d requests dropped", self._subject, self.dropped)

    def _start(self, data: bytes, reply: Reply) -> None:
        task = asyncio.create_task(self._work(data, reply), name=f"serve {self._subject}")
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting and not self._is_closed:
            self._start(*self._waiting.popleft())

    async def _work(self, data: bytes, reply: Reply) -> None:
        try:
            await reply(await self._answer(data))
        except Exception as error:  # noqa: BLE001 - the boundary of one request: its asker has a deadline
            _log.error("bus: request on %s failed: %s", self._subject, where(error))

    async def close(self) -> None:
        """Forgets what waits and returns when the requests under way are answered."""
        self._is_closed = True
        self._waiting.clear()
        await finish(self._running)
