"""Where a durable consumer's messages come from on NATS: one open pull request, watched by its heartbeat."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from turncall_bus.bus import Away, Delivered
from turncall_bus.direct import status

EXPIRES_S: Final = 5.0
"""How long one pull request stays open at the server."""
HEARTBEAT_S: Final = 1.0
"""A request without a message or a heartbeat for twice this long is lost and is made again."""
NS: Final = 1_000_000_000


class _PullAsked(msgspec.Struct, frozen=True, kw_only=True):
    batch: int
    expires: int = int(EXPIRES_S * NS)
    idle_heartbeat: int = int(HEARTBEAT_S * NS)


class _AgainAfter(msgspec.Struct, frozen=True, kw_only=True):
    delay: int


class PullSource:
    """One durable consumer as seen by one process. `turncall_bus.consumer.Consumer` is its only caller.

    ``ensure`` creates or updates the consumer at the server and raises `BusError`. With ``reads_ahead`` the next
    request is open while what was pulled is handled, so that its messages come in while the handler waits for its
    database. What was delivered and not acked comes again after the consumer's ack wait, whatever happens here.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        durable: str,
        *,
        ensure: Callable[[], Awaitable[None]],
        reads_ahead: bool = False,
    ) -> None:
        self._client = client
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._ensure = ensure
        self._reads_ahead = reads_ahead
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._requests = 0
        self._outstanding = 0
        self._is_missing = True
        self._arrived: deque[Delivered] = deque()
        self._replies: dict[int, str] = {}
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Creates the consumer and listens. Raises `BusError`."""
        await self._ensure()
        self._is_missing = False
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._take)

    def forget_request(self) -> None:
        """The connection is new: the request that was open is not."""
        self._outstanding = 0
        self._news.set()

    async def pull(self, batch: int, wait_s: float) -> list[Delivered]:
        """At least one message, then as many of ``batch`` as come within ``wait_s``; waits while away.

        Raises `BusError` when the consumer is gone and cannot be made again.
        """
        loop = asyncio.get_running_loop()
        while not self._arrived:
            if not self._client.is_connected:
                await self._has_news(2 * HEARTBEAT_S)  # a new connection is news
                continue
            if self._is_missing:
                await self._ensure()
                self._is_missing = False
            if self._outstanding <= 0:
                await self._ask(batch)
            if not await self._has_news(2 * HEARTBEAT_S):
                self._outstanding = 0
            if self._is_missing and not self._arrived:
                raise Away("the consumer is gone or has moved")  # the caller pauses, then it is made again
        full_at = loop.time() + wait_s
        while self._outstanding > 0 and len(self._arrived) < batch and (left_s := full_at - loop.time()) > 0:
            await self._has_news(left_s)
        pulled = [self._arrived.popleft() for _ in range(min(batch, len(self._arrived)))]
        if self._reads_ahead and not self._arrived and self._outstanding <= 0:
            with suppress(Away):  # the next pull asks again
                await self._ask(batch)
        return pulled

    async def _has_news(self, timeout_s: float) -> bool:
        self._news.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _ask(self, batch: int) -> None:
        self._requests += 1
        self._outstanding = batch
        reply = f"{self._inbox}.{self._requests}"
        try:
            await self._client.publish(self._next_subject, msgspec.json.encode(_PullAsked(batch=batch)), reply=reply)
        except nats.errors.Error as error:
            self._outstanding = 0
            raise Away("no connection to NATS") from error

    async def _take(self, message: Msg) -> None:
        """A message of the stream, a heartbeat (100), or the end of a request (404, 408, 409, 503)."""
        code = status(message)
        if code is None:
            delivery, stream_seq = _numbers(message.reply)
            delivered = Delivered(subject=message.subject, stream_seq=stream_seq, delivery=delivery, data=message.data)
            self._outstanding -= 1
            self._replies[delivered.stream_seq] = message.reply
            self._arrived.append(delivered)
        elif code != "100" and message.subject == f"{self._inbox}.{self._requests}":
            self._outstanding = 0
            # 408 is a request that ran its time; anything else may mean that the consumer is gone or has moved.
            self._is_missing = code != "408"
        self._news.set()

    async def ack(self, message: Delivered) -> None:
        """Done with it for good; when the ack is lost, the message comes again."""
        await self._reply(message, b"+ACK")

    async def again(self, message: Delivered, delay_s: float) -> None:
        """Deliver it once more, not before ``delay_s``."""
        await self._reply(message, b"-NAK " + msgspec.json.encode(_AgainAfter(delay=int(delay_s * NS))))

    async def hold(self, message: Delivered) -> None:
        """Still at it: the ack wait begins anew."""
        await self._say(self._replies.get(message.stream_seq), b"+WPI")

    async def _reply(self, message: Delivered, verdict: bytes) -> None:
        await self._say(self._replies.pop(message.stream_seq, None), verdict)

    async def _say(self, reply: str | None, verdict: bytes) -> None:
        if reply is None:
            return
        try:
            await self._client.publish(reply, verdict)
        except nats.errors.Error:
            return  # away: the server delivers it again after the ack wait

    async def close(self) -> None:
        """Gives back what was pulled and not acked, so that a replica gets it at once."""
        subscription, self._subscription = self._subscription, None
        if subscription is None or self._client.is_closed:
            return
        await subscription.unsubscribe()
        for seq in list(self._replies):
            reply = self._replies.pop(seq)
            try:
                await self._client.publish(reply, b"-NAK")
            except nats.errors.Error:
                return


def _numbers(reply: str) -> tuple[int, int]:
    """Which delivery this is and the stream sequence, from the ack subject (ADR-15).

    ``$JS.ACK.{stream}.{consumer}.{delivery}.{stream seq}.…`` has nine tokens; the form with a domain has two more
    before the stream's name. nats-py's own reading makes a datetime of each and was a fifth of the cost of a message.
    """
    tokens = reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    return int(tokens[first]), int(tokens[first + 1])
