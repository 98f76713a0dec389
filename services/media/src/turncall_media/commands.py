"""Commands to a live call: done once each, answered alike when they are repeated, also by its next worker."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final

from turncall_proto.codec import decode_command, encode
from turncall_proto.command import AnyCommand, CommandReply
from turncall_proto.events import CommandDone, Event

REMEMBERED: Final = 256
"""Replies kept for repeats; a command older than that many others is past its deadline anyway."""

_DONE: Final = CommandReply(outcome="done")
_LATE: Final = CommandReply(outcome="late")


class Commands:
    """What one call answers on its command subject. ``obey`` carries a command out; ``now`` is aware UTC.

    ``earlier`` are the facts of the call's earlier epochs: what those did is done.
    """

    def __init__(
        self,
        obey: Callable[[AnyCommand], Awaitable[CommandReply]],
        now: Callable[[], datetime],
        earlier: Iterable[Event] = (),
    ) -> None:
        self._obey = obey
        self._now = now
        self._one_at_a_time = asyncio.Lock()
        self._replies: OrderedDict[str, CommandReply] = OrderedDict(
            (fact.command_id, _DONE) for fact in earlier if isinstance(fact, CommandDone)
        )

    async def answer(self, data: bytes) -> bytes:
        """Answers one command off the bus. Raises `MalformedMessage`, which leaves the asker without an answer."""
        return encode(await self.take(decode_command(data)))

    async def take(self, command: AnyCommand) -> CommandReply:
        """Does what is asked, unless it was done before or its deadline has passed; one after another, in order."""
        async with self._one_at_a_time:
            known = self._replies.get(command.command_id)
            if known is not None:
                return known
            left_s = (command.deadline - self._now()).total_seconds()
            if left_s <= 0:
                return _LATE
            try:
                async with asyncio.timeout(left_s):
                    reply = await self._obey(command)
            except TimeoutError:
                return _LATE
            self._replies[command.command_id] = reply
            if len(self._replies) > REMEMBERED:
                self._replies.popitem(last=False)
            return reply
