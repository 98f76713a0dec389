"""Reading stored messages by direct get: the last of a subject, or all under a filter in one batched request.

Formats: ADR-31 of NATS (https://github.com/nats-io/nats-architecture-and-design), tried against server 2.15.
"""

import asyncio
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from turncall_bus.bus import Away, NoAnswer, Stored

BATCH: Final = 1000
"""Messages asked for at once; a longer story takes another round trip."""
END_OF_BATCH: Final = "204"
NONE_FOUND: Final = "404"


class _BatchAsked(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    batch: int
    next_by_subj: str


def status(message: Msg) -> str | None:
    """The status code of a reply that holds no message, as three digits."""
    return message.headers.get("Status") if message.headers else None


class _Story:
    """Collects the replies to batched requests; ``pending`` resolves with how many messages lie beyond the batch."""

    def __init__(self) -> None:
        self.messages: list[Stored] = []
        self.pending: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def take(self, message: Msg) -> None:
        headers = message.headers or {}
        match status(message):
            case None:
                self.messages.append(
                    Stored(subject=headers["Nats-Subject"], stream_seq=int(headers["Nats-Sequence"]), data=message.data)
                )
            case _ if self.pending.done():
                pass  # a straggler of a batch that was given up
            case "204":
                self.pending.set_result(int(headers.get("Nats-Num-Pending", "0")))
            case "404":
                self.pending.set_result(0)
            case code:
                self.pending.set_exception(Away(f"the stream cannot be read: status {code} to a batched direct get"))


async def read_story(
    client: Client, stream: str, subject: str, *, after: int = 0, limit: int | None = None, timeout_s: float
) -> list[Stored]:
    """Messages of ``stream`` under the filter ``subject``, oldest first: those behind the sequence ``after``, up to
    ``limit``. Raises `Away`, `NoAnswer`."""
    story = _Story()
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=story.take)
    try:
        async with asyncio.timeout(timeout_s):
            next_seq = after + 1
            while True:
                story.pending = asyncio.get_running_loop().create_future()
                wanted = BATCH if limit is None else min(BATCH, limit - len(story.messages))
                asked = _BatchAsked(seq=next_seq, batch=wanted, next_by_subj=subject)
                await client.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(asked), reply=inbox)
                if await story.pending == 0 or len(story.messages) == limit:
                    return story.messages
                next_seq = story.messages[-1].stream_seq + 1
    except TimeoutError as error:
        raise NoAnswer(f"stream {stream} did not tell its story within {timeout_s} s") from error
    finally:
        if not client.is_closed:
            await subscription.unsubscribe()
