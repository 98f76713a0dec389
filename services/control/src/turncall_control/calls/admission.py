"""An inbound phone call: one row for it, a worker, one answer for the carrier."""

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from turncall_control.calls import closing, concurrency, ledger, news, placement
from turncall_control.calls.concurrency import Limits, Reached
from turncall_control.calls.entry import Entrant, enter
from turncall_control.calls.facts import UNNUMBERED, Fact, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.lookup import Found, Unrouted
from turncall_control.calls.placement import Placed
from turncall_control.calls.plans import connect, join, plan, plan_new
from turncall_control.calls.ringing import Admitted, Ringing
from turncall_control.carriers.base import Answers
from turncall_control.plane import Plane
from turncall_control.routing import BoundNumber, Hold, Routed
from turncall_proto import ids
from turncall_proto.call import CallStart, EndedReason
from turncall_proto.events import CallInitializing, CallRinging, CallRouted
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime import logs

log = logs.logger(__name__)


class _Sought(Struct, frozen=True, kw_only=True):
    """What there is for a caller: a plan unless no agent answers, a limit that is reached, or a worker with a slot."""

    plan: CallStart | None
    reached: Reached | None = None
    placed: Placed | None = None


async def admit(plane: Plane, documents: Answers, ringing: Ringing, found: Found, routed: Routed | None) -> Admitted:
    """Makes the call, finds it a worker and answers the carrier; a repeat gets the stored answer, byte for byte.

    Repeats on this process wait for each other (`Plane.turns`). Of those that reach several processes at once one makes
    the row, whose key is unique, and the others give its answer; a slot that they took meanwhile frees itself. A worker
    is looked for before the call has a row, so that no connection to Postgres waits for it. While none is free the
    carrier is told to ask again, and no answer is stored. ``routed`` is None on a number that takes no calls; of a call
    that has a row it is not looked at. Raises `Unrouted` when the call is one that the webhook is no proof for.
    """
    if found.call is not None and found.call.answer is not None:
        _require_proof(ringing, ProjectId(ids.written(ids.PROJECT, found.call.project_id)))
        return Admitted(answer=found.call.answer, plan=None)
    sought = await _seek(plane, ringing, found, routed) if routed is not None and _is_foreseen(found, routed) else None
    if sought is not None and sought.placed is not None:
        admitted = await _enter_placed(plane, documents, ringing, found, routed, sought.placed)
        if admitted is not None:
            return admitted
    return await _admit_waiting(plane, documents, ringing, found, routed, sought)


def _is_foreseen(found: Found, routed: Routed) -> bool:
    """Whether all about who answers is known without the call's row; a user's server may have named any agent."""
    return routed.agent_id is None or routed.agent_id in found.published


async def _seek(plane: Plane, ringing: Ringing, found: Found, routed: Routed) -> _Sought:
    """Looks for a worker for a call that has no row yet."""
    planned = await plan_new(plane, ringing, found, routed)
    if planned is None:
        return _Sought(plan=None)
    reached = await _count(plane, ringing, found, routed)
    if reached is not None:
        return _Sought(plan=planned, reached=reached)
    if routed.published is not None:
        plane.routing.learn(routed.published)
    return _Sought(plan=planned, placed=await placement.place(plane.bus, plane.workers, planned))


async def _count(plane: Plane, ringing: Ringing, found: Found, routed: Routed) -> Reached | None:
    """Counts the call against the limits that there are."""
    answering = routed.agent_id and found.published.get(routed.agent_id)
    limits: Limits = {
        "number": found.max_calls,
        "agent": answering.max_calls if answering else None,
        "project": found.max_calls_of_project,
    }
    if all(limit is None for limit in limits.values()):
        return None
    counted = concurrency.Counted(
        call=ids.parsed(ids.CALL, ringing.call_id),
        project=ids.parsed(ids.PROJECT, found.number.project_id),
        agent=answering.agent_id if answering else None,
        number=ids.parsed(ids.NUMBER, found.number.number_id),
    )
    async with plane.database.pool.connection() as connection:
        return await concurrency.count(connection, plane.redis, counted, limits)


async def _enter_placed(
    plane: Plane, documents: Answers, ringing: Ringing, found: Found, routed: Routed | None, placed: Placed
) -> Admitted | None:
    """Makes a call that a worker waits for; None when another process has made it meanwhile."""
    answer = join(plane, documents, placed)
    entrant = replace(_entrant(ringing, found, routed, is_counted=True), worker=placed.plan.offered_to, answer=answer)
    async with plane.database.pool.connection() as connection:
        appended = await enter(connection, entrant, _first_facts(ringing, found, routed))
    if appended is None:
        return None
    await news.publish(plane.bus, appended)
    return Admitted(answer=answer, plan=placed.plan)


async def _admit_waiting(
    plane: Plane,
    documents: Answers,
    ringing: Ringing,
    found: Found,
    routed: Routed | None,
    sought: _Sought | None,
) -> Admitted:
    """Answers a caller for whom no worker was there at once, or who waits already, under the lock of the call's row."""
    call_id = ringing.call_id
    async with plane.database.pool.connection() as connection, connection.transaction():
        waited_s = None
        is_counted = sought is not None and sought.plan is not None and sought.reached is None
        entrant = _entrant(ringing, found, routed, is_counted=is_counted)
        appended = await enter(connection, entrant, _first_facts(ringing, found, routed))
        if appended is None:
            appended = Appended(ledgers=await ledger.lock(connection, [call_id]), facts={})
            _require_proof(ringing, appended.ledgers[call_id].project_id)
            stored, waited_s = await _known(connection, call_id)
            if stored is not None:
                return Admitted(answer=stored, plan=None)
        call = appended.ledgers[call_id]
        stated, admitted = await _settle(connection, plane, documents, call, found.number, waited_s, sought)
        if admitted.is_settled:
            await connection.execute(
                "update calls set answer = %s where id = %s", (admitted.answer, ids.parsed(ids.CALL, call_id))
            )
    await news.publish(plane.bus, appended.join(stated))
    return admitted


async def _settle(
    connection: Connection,
    plane: Plane,
    documents: Answers,
    call: Ledger,
    number: BoundNumber,
    waited_s: float | None,
    sought: _Sought | None,
) -> tuple[Appended, Admitted]:
    """What a locked call gets, which has waited for a worker already unless ``waited_s`` is None."""
    nothing = Appended(ledgers={call.call_id: call}, facts={})
    if call.standing.is_final or call.standing.end_intended:
        return nothing, Admitted(answer=documents.hang_up(), plan=None)
    if not number.settings.channels.voice:
        return await closing.reject(
            connection, plane, documents, call, EndedReason.REJECTED, "voice is off", is_busy=False
        )
    if sought is None:
        sought = await _seek_again(connection, plane, call.call_id)
    if sought.plan is None:
        return await closing.turn_away(connection, plane, documents, call, EndedReason.REJECTED, "no agent answers")
    reached = sought.reached
    if reached is not None:
        log.warning("call.over_limit", call_id=call.call_id, scope=reached.scope, limit=reached.limit)
        plane.counts.refused.labels(f"limit_of_{reached.scope}").inc()
        return await closing.turn_away(connection, plane, documents, call, EndedReason.NO_CAPACITY, str(reached))
    if sought.placed is not None:
        answer = await connect(connection, plane, documents, sought.placed)
        return nothing, Admitted(answer=answer, plan=sought.placed.plan)
    busy = number.settings.busy
    if isinstance(busy, Hold) and placement.may_wait(plane.workers, waited_s or 0.0, busy.wait_s):
        log.warning("call.held", call_id=call.call_id, epoch=0)
        plane.counts.held.labels("placement").inc()
        answer = documents.hold(
            sentence=busy.message if waited_s is None else None,
            pause_s=placement.ASK_AGAIN_S,
            ask_url=f"{plane.config.public_url}/webhooks/{call.provider}/voice/inbound",
        )
        return nothing, Admitted(answer=answer, plan=None, is_settled=False)
    return await closing.turn_away(connection, plane, documents, call, EndedReason.NO_CAPACITY, "no worker is free")


async def _seek_again(connection: Connection, plane: Plane, call_id: CallId) -> _Sought:
    """Looks for a worker for a locked call."""
    planned = await plan(connection, plane, call_id, epoch=1)
    if planned is None:
        return _Sought(plan=None)
    reached = await concurrency.take(connection, plane.redis, call_id)
    placed = None if reached is not None else await placement.place(plane.bus, plane.workers, planned)
    return _Sought(plan=planned, reached=reached, placed=placed)


async def note_missed(plane: Plane, ringing: Ringing, found: Found) -> None:
    """Makes the row of a call that was over before anybody decided about it. A call that has a row stays as it is."""
    entrant = _entrant(ringing, found, None, is_counted=False)
    async with plane.database.pool.connection() as connection:
        appended = await enter(connection, entrant, _first_facts(ringing, found, None))
    if appended is not None:
        await news.publish(plane.bus, appended)


def _require_proof(ringing: Ringing, project_id: ProjectId) -> None:
    """Raises `Unrouted` unless the webhook is proof for a call of this project."""
    if not ringing.proof.covers(project_id, ringing.account):
        raise Unrouted("the call is another project's, which goes by another token")


def _entrant(ringing: Ringing, found: Found, routed: Routed | None, *, is_counted: bool) -> Entrant:
    published = routed.published if routed else None
    return Entrant(
        id=ids.parsed(ids.CALL, ringing.call_id),
        project_id=ids.parsed(ids.PROJECT, found.number.project_id),
        agent_id=ids.parsed(ids.AGENT, published.agent_id) if published else None,
        version_id=ids.parsed(ids.VERSION, published.version_id) if published else None,
        inline_agent=routed.inline if routed else None,
        variant=routed.variant if routed else None,
        variables=routed.variables if routed else {},
        metadata=routed.metadata if routed else {},
        knowledge_context=routed.knowledge_context if routed else "",
        routing=routed.decision if routed and not routed.is_plain else None,
        number_id=ids.parsed(ids.NUMBER, found.number.number_id),
        channel=ringing.channel,
        from_number=ringing.from_number,
        to_number=ringing.to_number,
        provider=ringing.provider,
        account=ringing.account,
        provider_call_id=ringing.provider_call_id,
        created_at=found.asked_at,
        is_counted=is_counted,
    )


def _first_facts(ringing: Ringing, found: Found, routed: Routed | None) -> list[Fact]:
    return [own(fact) for fact in first_facts(ringing, found.number.project_id, routed)]


async def _known(connection: Connection, call_id: CallId) -> tuple[str | None, float]:
    """The answer to a call that is not new, None while it waits for a worker, and how many seconds ago it came."""
    cursor = await connection.execute(
        "select answer, extract(epoch from now() - created_at)::float from calls where id = %s",
        (ids.parsed(ids.CALL, call_id),),
    )
    answer, waited_s = await cursor.fetchone() or (None, 0.0)
    return answer, waited_s


def first_facts(
    ringing: Ringing, project_id: ProjectId, routed: Routed | None
) -> list[CallInitializing | CallRouted | CallRinging]:
    """What control states of a call that rings, not numbered yet; a decision only where there was one to make."""
    header: dict[str, Any] = {
        "call_id": ringing.call_id,
        "project_id": project_id,
        "epoch": 0,
        "seq": UNNUMBERED,
        "at": datetime.now(UTC),
    }
    agent: dict[str, Any] = {
        "agent_id": routed.agent_id if routed else None,
        "version_id": routed.version_id if routed else None,
        "variant": routed.variant if routed else None,
    }
    facts: list[CallInitializing | CallRouted | CallRinging] = [
        CallInitializing(
            channel=ringing.channel,
            direction="inbound",
            from_number=ringing.from_number,
            to_number=ringing.to_number,
            provider=ringing.provider,
            provider_call_id=ringing.provider_call_id,
            variables=dict(routed.variables) if routed else {},
            metadata=dict(routed.metadata) if routed else {},
            **agent,
            **header,
        )
    ]
    if routed is not None and not routed.is_plain:
        facts.append(
            CallRouted(
                **asdict(routed.decision),
                **agent,
                **header,
            )
        )
    return [*facts, CallRinging(**header)]
