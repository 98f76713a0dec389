"""An inbound phone call: which agent answers the number, one row for the call, one answer for the carrier."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from turncall_control.calls import concurrency, hangups, ledger, news, placement
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.plans import connect, plan
from turncall_control.calls.projector import record
from turncall_control.carriers.base import Documents
from turncall_control.db.engine import Pool
from turncall_control.plane import Plane
from turncall_control.routing import KNOWN_AT_MOST, Route, Routing
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.events import CallInitializing, CallRinging
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId
from turncall_runtime import logs

PLEASE_HOLD: Final = "Please hold the line, we will be with you in a moment."
ALL_BUSY: Final = "All lines are busy at the moment. Please call again in a few minutes."
NOT_IN_SERVICE: Final = "The number you have called is not in service. Goodbye."

log = logs.logger(__name__)


class Unrouted(Exception):
    """Nothing answers on the number; the message says why, for the operator's log."""


class Ringing(Struct, frozen=True, kw_only=True):
    """A call that a carrier announces."""

    provider: str
    account: str
    provider_call_id: str
    from_number: str
    to_number: str


class Admitted(Struct, frozen=True, kw_only=True):
    """The document that answers the carrier. ``plan`` is to be announced; None for a repeat and for a refusal.

    An answer that is not settled has the carrier ask again; only a settled one is kept for repeats.
    """

    answer: str
    plan: CallStart | None
    is_settled: bool = True


async def route(pool: Pool, routing: Routing, provider: str, e164: str) -> Route:
    """The agent behind a carrier's number, in its published version, noted in ``routing``. Raises `Unrouted`."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select n.project_id, n.id, n.agent_id, v.id from numbers n"
            " join projects p on p.id = n.project_id and p.deleted_at is null"
            " left join agent_versions v on v.agent_id = n.agent_id and v.state = 'published'"
            " where n.carrier = %s and n.e164 = %s",
            (provider, e164),
        )
        row = await cursor.fetchone()
    if row is None:
        raise Unrouted("the number is not bound to an agent")
    project, number, agent, version = row
    if version is None:
        raise Unrouted(f"the agent {ids.written(ids.AGENT, agent)} has no published version")
    found = _route(project, number, agent, version)
    routing.used(provider, e164, found)
    return found


async def learn_routes(pool: Pool, routing: Routing) -> None:
    """Brings what is known of every number up to date: all routes, and the agents that were not known."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select n.carrier, n.e164, n.project_id, n.id, n.agent_id, v.id from numbers n"
            " join projects p on p.id = n.project_id and p.deleted_at is null"
            " join agent_versions v on v.agent_id = n.agent_id and v.state = 'published' limit %s",
            (KNOWN_AT_MOST,),
        )
        routing.know({(row[0], row[1]): _route(*row[2:]) for row in await cursor.fetchall()})
        wanted = [ids.parsed(ids.VERSION, version) for version in routing.unknown_agents()]
        cursor = await connection.execute("select id, config from agent_versions where id = any(%s)", (wanted,))
        for version, config in await cursor.fetchall():
            routing.learn(VersionId(ids.written(ids.VERSION, version)), msgspec.convert(config, AgentSpec))


def _route(project: UUID, number: UUID, agent: UUID, version: UUID) -> Route:
    return Route(
        project_id=ProjectId(ids.written(ids.PROJECT, project)),
        number_id=NumberId(ids.written(ids.NUMBER, number)),
        agent_id=AgentId(ids.written(ids.AGENT, agent)),
        version_id=VersionId(ids.written(ids.VERSION, version)),
    )


async def admit(plane: Plane, documents: Documents, ringing: Ringing, route: Route) -> Admitted:
    """Makes the call, finds it a worker and answers the carrier; a repeat gets the stored answer, byte for byte.

    All in one transaction: repeats that come at the same time wait for it on the unique key of the call, so that there
    is one row, one reserved slot and one call-start. While no worker is free the carrier is told to ask again, and no
    answer is stored.
    """
    call_id = ids.inbound_call_id(ringing.provider, ringing.account, ringing.provider_call_id)
    async with plane.database.pool.connection() as connection, connection.transaction():
        waited_s = None
        if await _insert(connection, call_id, ringing, route):
            appended = await record(connection, [own(fact) for fact in first_facts(call_id, ringing, route)])
        else:
            appended = Appended(ledgers=await ledger.lock(connection, [call_id]), facts={})
            stored, waited_s = await _known(connection, call_id)
            if stored is not None:
                return Admitted(answer=stored, plan=None)
        stated, admitted = await _place(connection, plane, documents, appended.ledgers[call_id], waited_s)
        if admitted.is_settled:
            await connection.execute(
                "update calls set answer = %s where id = %s", (admitted.answer, ids.parsed(ids.CALL, call_id))
            )
    await news.publish(plane.bus, appended.join(stated))
    return admitted


async def _place(
    connection: Connection, plane: Plane, documents: Documents, call: Ledger, waited_s: float | None
) -> tuple[Appended, Admitted]:
    """Finds a worker for the first epoch of a call, which has waited for one already unless ``waited_s`` is None."""
    nothing = Appended(ledgers={call.call_id: call}, facts={})
    if call.standing.is_final or call.standing.end_intended:
        return nothing, Admitted(answer=documents.hang_up(), plan=None)
    reached = await concurrency.take(connection, plane.redis, call.call_id)
    if reached is not None:
        log.warning("call.over_limit", call_id=call.call_id, scope=reached.scope, limit=reached.limit)
        plane.counts.refused.labels(f"limit_of_{reached.scope}").inc()
        return await _turn_away(connection, documents, call, str(reached))
    planned = await plan(connection, plane, call.call_id, epoch=1)
    if planned.version_id is not None:
        plane.routing.learn(planned.version_id, planned.agent)
    placed = await placement.place(plane.bus, plane.workers, planned)
    if placed is not None:
        return nothing, Admitted(answer=await connect(connection, plane, documents, placed), plan=placed.plan)
    if placement.may_wait(plane.workers, waited_s or 0.0):
        log.warning("call.held", call_id=call.call_id, epoch=0)
        plane.counts.held.labels("placement").inc()
        answer = documents.hold(
            sentence=PLEASE_HOLD if waited_s is None else None,
            pause_s=placement.ASK_AGAIN_S,
            ask_url=f"{plane.config.public_url}/webhooks/{call.provider}/voice/inbound",
        )
        return nothing, Admitted(answer=answer, plan=None, is_settled=False)
    log.error("call.no_capacity", call_id=call.call_id)
    plane.counts.refused.labels(EndedReason.NO_CAPACITY).inc()
    return await _turn_away(connection, documents, call, "no worker is free")


async def _turn_away(connection: Connection, documents: Documents, call: Ledger, why: str) -> tuple[Appended, Admitted]:
    """There is no room for the call: its caller hears that all lines are busy."""
    refused = await hangups.intend(
        connection, call, EndedReason.NO_CAPACITY, CallState.FAILED, due_in_s=hangups.LOOK_AFTER_S, detail=why
    )
    return refused, Admitted(answer=documents.say_and_hang_up(ALL_BUSY), plan=None)


async def _insert(connection: Connection, call_id: CallId, ringing: Ringing, route: Route) -> bool:
    """Whether the call is new."""
    cursor = await connection.execute(
        "insert into calls (id, project_id, agent_id, version_id, number_id, channel, direction, from_number,"
        " to_number, provider, account, provider_call_id, status)"
        " values (%s, %s, %s, %s, %s, 'phone', 'inbound', %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (
            ids.parsed(ids.CALL, call_id),
            ids.parsed(ids.PROJECT, route.project_id),
            ids.parsed(ids.AGENT, route.agent_id),
            ids.parsed(ids.VERSION, route.version_id),
            ids.parsed(ids.NUMBER, route.number_id),
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


def first_facts(call_id: CallId, ringing: Ringing, route: Route) -> tuple[CallInitializing, CallRinging]:
    """What control states of a call that rings, not numbered yet."""
    now = datetime.now(UTC)
    return (
        CallInitializing(
            call_id=call_id,
            project_id=route.project_id,
            epoch=0,
            seq=UNNUMBERED,
            at=now,
            agent_id=route.agent_id,
            version_id=route.version_id,
            channel="phone",
            direction="inbound",
            from_number=ringing.from_number,
            to_number=ringing.to_number,
            provider=ringing.provider,
            provider_call_id=ringing.provider_call_id,
        ),
        CallRinging(call_id=call_id, project_id=route.project_id, epoch=0, seq=UNNUMBERED, at=now),
    )
