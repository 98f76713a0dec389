"""What a worker asks of control: to end or give away a call, to send a link, never to call again, what is known."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from turncall_bus.bus import Away, Bus, NoAnswer, NobodyListens
from turncall_media.tools.shape import ToolFailed
from turncall_proto.call import CallStart, EndedReason
from turncall_proto.codec import MalformedMessage, decode, encode
from turncall_proto.command import (
    ActReply,
    HandoffAsked,
    HandoffReply,
    HangUpAsked,
    LinkAsked,
    OptOutAsked,
    TransferAsked,
    TransferOrder,
)
from turncall_proto.ids import AgentId, KnowledgeBaseId, ProjectId, WorkerId
from turncall_proto.knowledge import LONGEST_QUESTION, KnowledgeAnswered, KnowledgeAsked, KnowledgeWanted, Source
from turncall_proto.subjects import Act, act

ANSWER_WITHIN_S: Final = 2.0
TRY_FOR_S: Final = 10.0
"""With control out of reach this long, the worker gives up and closes the socket."""
PAUSE_S: Final = 0.5
_OUT_OF_REACH: Final = "the control plane is out of reach"


class HangUp:
    """The wish to end one call at the carrier. Called many times, it is put to control once; all get one answer."""

    def __init__(self, bus: Bus, plan: CallStart, now: Callable[[], datetime]) -> None:
        self._bus = bus
        self._plan = plan
        self._now = now
        self._one_at_a_time = asyncio.Lock()
        self._answer: bool | None = None

    async def __call__(self, reason: EndedReason) -> bool:
        """Whether control has taken it on."""
        async with self._one_at_a_time:
            if self._answer is None:
                self._answer = await self._put(reason)
            return self._answer

    async def _put(self, reason: EndedReason) -> bool:
        answer = await _answered(self._bus, "hang_up", lambda: self._asked(reason), ActReply)
        return answer is not None and answer.is_taken

    def _asked(self, reason: EndedReason) -> bytes:
        return encode(
            HangUpAsked(
                act_id=f"{self._plan.call_id}.{self._plan.epoch}.hang_up",
                call_id=self._plan.call_id,
                epoch=self._plan.epoch,
                reason=reason,
                deadline=self._now() + timedelta(seconds=ANSWER_WITHIN_S),
            )
        )


class HandOffs:
    """The wish to have another agent go on with one epoch of a call, on the same stream."""

    def __init__(self, bus: Bus, plan: CallStart, worker: WorkerId, now: Callable[[], datetime]) -> None:
        self._bus = bus
        self._plan = plan
        self._worker = worker
        self._now = now

    async def __call__(self, agent_id: AgentId, reason: str) -> HandoffReply:
        """The plan to go on with, or why there is none."""
        answer = await _answered(self._bus, "handoff", lambda: self._asked(agent_id, reason), HandoffReply)
        return answer or HandoffReply(plan=None, detail=_OUT_OF_REACH)

    def _asked(self, agent_id: AgentId, reason: str) -> bytes:
        asked = HandoffAsked(
            act_id=f"{self._plan.call_id}.{self._plan.epoch}.handoff",
            call_id=self._plan.call_id,
            project_id=self._plan.project_id,
            epoch=self._plan.epoch,
            worker=self._worker,
            agent_id=agent_id,
            reason=reason,
            deadline=self._now() + timedelta(seconds=ANSWER_WITHIN_S),
        )
        return encode(asked)


class Transfers:
    """The wish to have the caller of one epoch connected to a person."""

    def __init__(self, bus: Bus, plan: CallStart, now: Callable[[], datetime]) -> None:
        self._bus = bus
        self._plan = plan
        self._now = now
        self._wishes = 0

    async def __call__(self, order: TransferOrder, tool: str) -> ActReply:
        """Whether control has taken it on, or why not."""
        self._wishes += 1
        act_id = f"{self._plan.call_id}.{self._plan.epoch}.transfer.{self._wishes}"
        answer = await _answered(self._bus, "transfer", lambda: self._asked(act_id, order, tool), ActReply)
        return answer or ActReply(is_taken=False, detail=_OUT_OF_REACH)

    def _asked(self, act_id: str, order: TransferOrder, tool: str) -> bytes:
        asked = TransferAsked(
            act_id=act_id,
            call_id=self._plan.call_id,
            project_id=self._plan.project_id,
            epoch=self._plan.epoch,
            order=order,
            tool=tool,
            deadline=self._now() + timedelta(seconds=ANSWER_WITHIN_S),
        )
        return encode(asked)


class OptOut:
    """The wish of a person never to be called again."""

    def __init__(self, bus: Bus, plan: CallStart, now: Callable[[], datetime]) -> None:
        self._bus = bus
        self._plan = plan
        self._now = now

    async def __call__(self) -> ActReply:
        """Whether they are on the list now, or why not."""
        answer = await _answered(self._bus, "opt_out", self._asked, ActReply)
        return answer or ActReply(is_taken=False, detail=_OUT_OF_REACH)

    def _asked(self) -> bytes:
        asked = OptOutAsked(
            act_id=f"{self._plan.call_id}.opt_out",
            call_id=self._plan.call_id,
            project_id=self._plan.project_id,
            deadline=self._now() + timedelta(seconds=ANSWER_WITHIN_S),
        )
        return encode(asked)


class Questions:
    """Questions to what a project knows: asked once, since whoever asks has no time for more."""

    def __init__(self, bus: Bus, project_id: ProjectId, now: Callable[[], datetime]) -> None:
        self._bus = bus
        self._project_id = project_id
        self._now = now

    async def search(self, question: str, sources: tuple[Source, ...], within_s: float) -> KnowledgeAnswered:
        """See `turncall_media.seams.Library`."""
        deadline = self._now() + timedelta(seconds=within_s)
        return await self._answer(
            KnowledgeAsked(
                project_id=self._project_id,
                question=question[-LONGEST_QUESTION:],
                sources=sources,
                deadline=deadline,
            ),
            within_s,
        )

    async def whole(self, at_most: Mapping[KnowledgeBaseId, int], within_s: float) -> KnowledgeAnswered:
        """See `turncall_media.seams.Library`."""
        deadline = self._now() + timedelta(seconds=within_s)
        asked = KnowledgeWanted(project_id=self._project_id, at_most=dict(at_most), deadline=deadline)
        return await self._answer(asked, within_s)

    async def _answer(self, asked: KnowledgeAsked | KnowledgeWanted, within_s: float) -> KnowledgeAnswered:
        try:
            return decode(await self._bus.ask(act("knowledge"), encode(asked), timeout_s=within_s), KnowledgeAnswered)
        except (Away, NobodyListens, NoAnswer, MalformedMessage) as error:
            return KnowledgeAnswered(detail=f"nobody answered ({type(error).__name__})")


class Links:
    """The wish to send the contact of a call, or of a session, a link by SMS."""

    def __init__(self, bus: Bus, plan: CallStart, now: Callable[[], datetime]) -> None:
        self._bus = bus
        self._plan = plan
        self._now = now

    async def __call__(self, url: str, text: str, use_id: str) -> None:
        """Returns once control has taken it on; asks under one id for a use of the tool. Raises `ToolFailed`."""
        answer = await _answered(self._bus, "link", lambda: self._asked(url, text, use_id), ActReply)
        if answer is None:
            raise ToolFailed("The link cannot be sent at the moment.")
        if not answer.is_taken:
            raise ToolFailed(f"The link cannot be sent: {answer.detail}.")

    def _asked(self, url: str, text: str, use_id: str) -> bytes:
        asked = LinkAsked(
            act_id=f"{self._plan.call_id}.link.{use_id}",
            call_id=self._plan.call_id,
            project_id=self._plan.project_id,
            url=url,
            text=text,
            deadline=self._now() + timedelta(seconds=ANSWER_WITHIN_S),
        )
        return encode(asked)


async def _answered[T](bus: Bus, kind: Act, asked: Callable[[], bytes], answer: type[T]) -> T | None:
    """Control's answer; the question, made anew with its deadline, is repeated for `TRY_FOR_S` while there is none."""
    try:
        async with asyncio.timeout(TRY_FOR_S):
            while True:
                try:
                    return decode(await bus.ask(act(kind), asked(), timeout_s=ANSWER_WITHIN_S), answer)
                except (Away, NobodyListens, NoAnswer, MalformedMessage):
                    await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        return None
