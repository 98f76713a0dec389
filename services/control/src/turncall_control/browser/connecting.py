"""A page's new call: its row, a worker for it, and the worker's answer to the page's offer."""

from typing import Final

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import Visit
from turncall_control.browser import tokens
from turncall_control.browser.choosing import chosen
from turncall_control.browser.schemas import CallWanted
from turncall_control.calls import concurrency, exchange, hangups, ledger, news, placement, settlement
from turncall_control.calls.beginning import begin
from turncall_control.calls.concurrency import TooManyCalls
from turncall_control.calls.exchange import WorkerGone
from turncall_control.calls.model import CallRow
from turncall_control.calls.placement import Placed
from turncall_control.calls.plans import begin_epoch, plan
from turncall_control.carriers import browser
from turncall_control.db.engine import bare, in_project
from turncall_control.errors import Conflict, ControlError, Invalid
from turncall_control.plane import Plane
from turncall_control.routing import Routed
from turncall_proto import ids
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime import logs

ASK_AGAIN_S: Final = 2

log = logs.logger(__name__)


class NobodyFree(ControlError):
    """No worker has room for the call at this moment."""

    status, name, title = 503, "no-capacity", "All lines are busy"


class NobodyAnswers(Conflict):
    """The call's routing leads to no agent, and its fallback neither; the call says why."""

    name, title = "no-agent-answers", "No agent answers the call"


class Answered(Struct, frozen=True, kw_only=True):
    """A worker's answer to an offer. ``plan`` is to be announced; None where it was."""

    call_id: CallId
    sdp: str
    plan: CallStart | None = None


async def connect(plane: Plane, project_id: ProjectId, wanted: CallWanted, sdp: str, visit: Visit | None) -> Answered:
    """Makes the call and finds it a worker, which answers the offer; a call that comes to nothing is ended with why.

    With a ``visit`` it is the one that the token opens. Raises `TokenUsed`, `Invalid`, `NobodyAnswers`, `TooManyCalls`,
    `NobodyFree` and `WorkerGone`.
    """
    call_id = CallId(ids.mint(ids.CALL)) if visit is None else visit.call_id
    routed = await chosen(plane, project_id, call_id, wanted, may_be_repeated=visit is not None)
    async with in_project(plane.database, project_id) as session:
        await _make(session, project_id, call_id, wanted, routed, visit)
    if routed.published is None and routed.inline is None:
        await _end(plane, call_id, EndedReason.REJECTED, routed.why)
        raise NobodyAnswers(routed.why)
    placed = await _place(plane, call_id)
    assert placed.plan.offered_to is not None  # it is placed
    try:
        answer = await exchange.offer(plane, placed.plan.offered_to, placed.plan, sdp)
    except (Invalid, WorkerGone) as error:
        await _end(plane, call_id, EndedReason.TELEPHONY_FAILED, str(error))
        raise
    return Answered(call_id=call_id, sdp=answer, plan=placed.plan)


async def _make(
    session: AsyncSession,
    project_id: ProjectId,
    call_id: CallId,
    wanted: CallWanted,
    routed: Routed,
    visit: Visit | None,
) -> None:
    """The call's row. Raises `TokenUsed`."""
    if visit is not None:
        await tokens.use_up(await bare(session), call_id)
    call = CallRow(
        id=call_id,
        project_id=project_id,
        agent_id=routed.agent_id,
        version_id=routed.version_id,
        inline_agent=routed.inline,
        variant=routed.variant,
        channel="browser",
        direction="inbound",
        from_number="",
        to_number="",
        provider=browser.PROVIDER,
        account="",
        provider_call_id=call_id,
        status=CallState.INITIATED,
        variables={**wanted.variables, **routed.variables},
        metadata_={**wanted.metadata, **routed.metadata},
        knowledge_context=routed.knowledge_context,
        routing=None if routed.is_plain else routed.decision,
    )
    await begin(session, call)


async def _place(plane: Plane, call_id: CallId) -> Placed:
    """A worker with a slot for the call, which is in its first epoch from here on."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        await ledger.lock(connection, [call_id])
        planned = await plan(connection, plane, call_id, epoch=1)
        assert planned is not None  # its version was found
        reached = await concurrency.take(connection, plane.redis, call_id)
        placed = None if reached else await placement.place(plane.bus, plane.workers, planned)
        if placed is not None:
            await begin_epoch(connection, placed)
            return placed
    why = str(reached) if reached is not None else "no worker is free"
    plane.counts.refused.labels(f"limit_of_{reached.scope}" if reached else EndedReason.NO_CAPACITY).inc()
    await _end(plane, call_id, EndedReason.NO_CAPACITY, why)
    if reached is not None:
        raise TooManyCalls(reached)
    raise NobodyFree(why, headers={"Retry-After": str(ASK_AGAIN_S)})


async def _end(plane: Plane, call_id: CallId, reason: EndedReason, why: str) -> None:
    """Ends a call that came to nothing; it has no line that anybody would have to close."""
    log.warning("call.turned_away", call_id=call_id, reason=reason, why=why)
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id]))[call_id]
        intended = await hangups.intend(connection, call, reason, CallState.FAILED, due_in_s=0, detail=why)
        ended = await settlement.reap(connection, call_id)
    await news.publish(plane.bus, intended.join(ended))
