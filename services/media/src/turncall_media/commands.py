"""Commands to a live call: done once each, answered alike when they are repeated."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Final

from turncall_proto.call import EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import AnyCommand, CommandReply

REMEMBERED: Final = 256
"""Replies kept for repeats; a command older than that many others is past its deadline anyway."""


class Commands:
    """What one call answers on its command subject. ``end`` ends its conversation; ``now`` is aware UTC."""

    def __init__(self, end: Callable[[EndedReason], None], now: Callable[[], datetime]) -> None:
        self._end = end
        self._now = now
        self._replies: OrderedDict[str, CommandReply] = OrderedDict()

    async def answer(self, data: bytes) -> bytes:
        """Answers one command off the bus. Raises `MalformedMessage`, which leaves the asker without an answer."""
        return encode(self.take(decode(data, AnyCommand)))

    def take(self, command: AnyCommand) -> CommandReply:
        """Does what is asked, unless it was done before or its deadline has passed."""
        known = self._replies.get(command.command_id)
        if known is not None:
            return known
        if self._now() >= command.deadline:
            return CommandReply(outcome="late")
        self._end(command.reason)
        reply = CommandReply(outcome="done")
        self._replies[command.command_id] = reply
        if len(self._replies) > REMEMBERED:
            self._replies.popitem(last=False)
        return reply
