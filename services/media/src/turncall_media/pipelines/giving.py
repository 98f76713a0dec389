"""Giving a call away, to another agent or to a person: control is asked once, and what it agreed to is done, whoever
interrupts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from turncall_media.pipelines.ending import Ending
from turncall_media.report.events import Narrator
from turncall_media.tools.shape import ToolFailed
from turncall_proto.command import ActReply, HandoffReply, TransferOrder
from turncall_proto.ids import AgentId


class Giving:
    """How one conversation gives its call away. ``ask`` gets control's plan for the other agent."""

    def __init__(
        self,
        ask: Callable[[AgentId, str], Awaitable[HandoffReply]],
        connect: Callable[[TransferOrder, str], Awaitable[ActReply]],
        ending: Ending,
        narrator: Narrator,
    ) -> None:
        self._ask = ask
        self._connect = connect
        self._narrator = narrator
        self._ending = ending
        self._asking: asyncio.Task[HandoffReply] | None = None
        self._connecting: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """What is to be cancelled when the conversation is over."""
        return [task for task in (self._asking, self._connecting) if task is not None]

    async def give(self, agent_id: AgentId, reason: str) -> None:
        """Returns when the conversation has ended for the other one to begin. Raises `ToolFailed`, with the reason.

        One that is cancelled meanwhile is carried out all the same: control has moved the call on already.
        """
        await self.ask(agent_id, reason)
        self.leave()

    async def ask(self, agent_id: AgentId, reason: str) -> None:
        """Returns when control has made the call the other agent's; `leave` is to follow. Raises `ToolFailed`."""
        if self._asking is not None:
            raise ToolFailed("The call is being given to an agent already.")
        self._asking = asyncio.create_task(self._planned(agent_id, reason))
        try:
            reply = await asyncio.shield(self._asking)
        except asyncio.CancelledError:
            self._asking.add_done_callback(lambda _: self.leave())
            raise
        if reply.plan is None:
            self._asking = None
            raise ToolFailed(f"The other agent cannot take the call: {reply.detail}.")

    def leave(self) -> None:
        """Ends the conversation, if control has planned on with another agent."""
        if self._asking is not None and self._asking.done() and not self._asking.cancelled():
            plan = self._asking.result().plan
            if plan is not None:
                self._ending.goes_on_with(plan)

    async def _planned(self, agent_id: AgentId, reason: str) -> HandoffReply:
        return await self._ask(agent_id, reason)

    async def transfer(self, order: TransferOrder, tool: str) -> None:
        """Returns when the conversation has ended for the carrier to connect the caller. Raises `ToolFailed`.

        One that is cancelled meanwhile is carried out all the same: the carrier may be doing it already.
        """
        if self.tasks:
            raise ToolFailed("The call is being given away already.")
        self._connecting = asyncio.create_task(self._transferred(order, tool))
        await asyncio.shield(self._connecting)

    async def _transferred(self, order: TransferOrder, tool: str) -> None:
        self._ending.is_letting_go = True
        reply = await self._connect(order, tool)
        if not reply.is_taken:
            self._ending.is_letting_go = False
            self._connecting = None
            raise ToolFailed(f"The caller cannot be connected: {reply.detail}.")
        self._narrator.lets_go(order.to, order.mode)
        self._ending.with_a_person()
