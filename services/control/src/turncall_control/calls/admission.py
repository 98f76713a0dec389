"""An inbound phone call: one row for it, a worker, one answer for the carrier."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import asdict
from psycopg.types.json import Jsonb

from turncall_control.calls import closing, concurrency, ledger, news, placement
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.lookup import Unrouted
from turncall_control.calls.plans import connect, plan
from turncall_control.calls.projector import record
from turncall_control.calls.ringing import Admitted, Ringing
from turncall_control.carriers.base import Documents
from turncall_control.plane import Plane
from turncall_control.routing import BoundNumber, Hold, Published, Routed
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import CallInitializing, CallRinging, CallRouted
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime import logs

log = logs.logger(__name__)


async def admit(
    plane: Plane, documents: Documents, ringing: Ringing, number: BoundNumber, routed: Routed | None
) -> Admitted:
    """Makes the call, finds it a worker and answers the carrier; a repeat gets the stored answer, byte for byte.

    All in one transaction: repeats that come at the same time wait for it on the unique key of the call, so that there
    is one row, one reserved slot and one call-start. While no worker is free the carrier is told to ask again, and no
    answer is stored. ``routed`` is None on a number that takes no calls; of a call that has a row it is not looked at.
    Raises `Unrouted` when the call is one that the webhook is no proof for.
    """
    call_id = ringing.call_id
    async with plane.database.pool.connection() as connection, connection.transaction():
        waited_s = None
        if await _insert(connection, ringing, number, routed):
            facts = first_facts(ringing, number.project_id, routed)
            appended = await record(connection, [own(fact) for fact in facts])
        else:
            appended = Appended(ledgers=await ledger.lock(connection, [call_id]), facts={})
            if not ringing.proof.covers(appended.ledgers[call_id].project_id, ringing.account):
                raise Unrouted("the call is another project's, which goes by another token")
            stored, waited_s = await _known(connection, call_id)
            if stored is not None:
                return Admitted(answer=stored, plan=None)
        stated, admitted = await _place(connection, plane, documents, appended.ledgers[call_id], number, waited_s)
        if admitted.is_settled:
            await connection.execute(
                "update calls set answer = %s where id = %s", (admitted.answer, ids.parsed(ids.CALL, call_id))
            )
    await news.publish(plane.bus, appended.join(stated))
    return admitted


async def _place(
    connection: Connection,
    plane: Plane,
    documents: Documents,
    call: Ledger,
    number: BoundNumber,
    waited_s: float | None,
) -> tuple[Appended, Admitted]:
    """Finds a worker for the first epoch of a call, which has waited for one already unless ``waited_s`` is None."""
    nothing = Appended(ledgers={call.call_id: call}, facts={})
    if call.standing.is_final or call.standing.end_intended:
        return nothing, Admitted(answer=documents.hang_up(), plan=None)
    if not number.settings.channels.voice:
        return await closing.reject(
            connection, plane, documents, call, EndedReason.REJECTED, "voice is off", is_busy=False
        )
    planned = await plan(connection, plane, call.call_id, epoch=1)
    if planned is None:
        return await closing.turn_away(connection, plane, documents, call, EndedReason.REJECTED, "no agent answers")
    reached = await concurrency.take(connection, plane.redis, call.call_id)
    if reached is not None:
        log.warning("call.over_limit", call_id=call.call_id, scope=reached.scope, limit=reached.limit)
        plane.counts.refused.labels(f"limit_of_{reached.scope}").inc()
        return await closing.turn_away(connection, plane, documents, call, EndedReason.NO_CAPACITY, str(reached))
    if planned.agent_id is not None and planned.version_id is not None:
        plane.routing.learn(Published(agent_id=planned.agent_id, version_id=planned.version_id), planned.agent)
    placed = await placement.place(plane.bus, plane.workers, planned)
    if placed is not None:
        return nothing, Admitted(answer=await connect(connection, plane, documents, placed), plan=placed.plan)
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


async def _insert(connection: Connection, ringing: Ringing, number: BoundNumber, routed: Routed | None) -> bool:
    """Whether the call is new."""
    published = routed.published if routed else None
    inline = routed.inline if routed else None
    cursor = await connection.execute(
        "insert into calls (id, project_id, agent_id, version_id, inline_agent, variant, variables, metadata,"
        " knowledge_context, routing, number_id, channel, direction, from_number, to_number, provider, account,"
        " provider_call_id, status)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'phone', 'inbound', %s, %s, %s, %s, %s, %s)"
        " on conflict do nothing",
        (
            ids.parsed(ids.CALL, ringing.call_id),
            ids.parsed(ids.PROJECT, number.project_id),
            ids.parsed(ids.AGENT, published.agent_id) if published else None,
            ids.parsed(ids.VERSION, published.version_id) if published else None,
            Jsonb(msgspec.to_builtins(inline)) if inline else None,
            routed.variant if routed else None,
            Jsonb(routed.variables if routed else {}),
            Jsonb(routed.metadata if routed else {}),
            routed.knowledge_context if routed else "",
            Jsonb(msgspec.to_builtins(routed.decision)) if routed and not routed.is_plain else None,
            ids.parsed(ids.NUMBER, number.number_id),
            ringing.from_number,
            ringing.to_number,
            ringing.provider,
            ringing.account,
            ringing.provider_call_id,
            CallState.INITIATED,
        ),
    )
    return cursor.rowcount == 1


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
            channel="phone",
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
