"""What a carrier's number is bound to and which versions answer calls, out of the database and kept in mind."""

from uuid import UUID

import msgspec
from msgspec import Struct

from turncall_control.calls.ringing import Ringing, is_proven
from turncall_control.db.engine import Pool
from turncall_control.plane import Plane
from turncall_control.routing import KNOWN_AT_MOST, BoundNumber, Published, Settings
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId


class Unrouted(Exception):
    """Nothing answers on the number; the message says why, for the operator's log."""


class Found(Struct, frozen=True, kw_only=True):
    """A bound number, and whether the call that asks for it has a row already."""

    number: BoundNumber
    is_known: bool


async def number_of(plane: Plane, ringing: Ringing) -> Found:
    """What the number that rings does with its calls, noted in the plane's routing.

    Raises `Unrouted` when it is not bound, and when it is in another account than the one that the webhook is proof of.
    """
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            "select n.project_id, n.id, n.settings, n.account, exists (select from calls where id = %s) from numbers n"
            " join projects p on p.id = n.project_id and p.deleted_at is null"
            " where n.carrier = %s and n.e164 = %s",
            (ids.parsed(ids.CALL, ringing.call_id), ringing.provider, ringing.to_number),
        )
        row = await cursor.fetchone()
    if row is None:
        raise Unrouted("the number is not bound")
    number = _bound(*row[:4])
    if not is_proven(plane, ringing.proof, number):
        raise Unrouted("the webhook is not of the account that owns the number")
    plane.routing.used(ringing.provider, ringing.to_number, number)
    return Found(number=number, is_known=row[4])


async def published(pool: Pool, project_id: ProjectId, agent_id: AgentId) -> Published | None:
    """The version with which an agent of the project answers calls; None without one, and for a foreign agent."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select id from agent_versions where project_id = %s and agent_id = %s and state = 'published'",
            (ids.parsed(ids.PROJECT, project_id), ids.parsed(ids.AGENT, agent_id)),
        )
        row = await cursor.fetchone()
    return Published(agent_id=agent_id, version_id=VersionId(ids.written(ids.VERSION, row[0]))) if row else None


async def published_named(pool: Pool, project_id: ProjectId, name: str, environment: str) -> Published | None:
    """The version with which the project's agent of this name answers calls; None without an agent or a version."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select v.agent_id, v.id from agents a join agent_versions v on v.agent_id = a.id and v.state = 'published'"
            " where a.project_id = %s and a.environment = %s and a.name = %s",
            (ids.parsed(ids.PROJECT, project_id), environment, name),
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    agent, version = row
    return Published(
        agent_id=AgentId(ids.written(ids.AGENT, agent)), version_id=VersionId(ids.written(ids.VERSION, version))
    )


async def has_row(pool: Pool, call_id: CallId) -> bool:
    """Whether the call is stored."""
    async with pool.connection() as connection:
        cursor = await connection.execute("select from calls where id = %s", (ids.parsed(ids.CALL, call_id),))
        return await cursor.fetchone() is not None


async def learn_routes(plane: Plane) -> None:
    """Brings what is known of every number up to date: settings, credentials, and the agents that were not known."""
    routing = plane.routing
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            "select n.carrier, n.e164, n.project_id, n.id, n.settings, n.account from numbers n"
            " join projects p on p.id = n.project_id and p.deleted_at is null limit %s",
            (KNOWN_AT_MOST,),
        )
        numbers = {(row[0], row[1]): _bound(*row[2:]) for row in await cursor.fetchall()}
        named = {agent for number in numbers.values() for _, agent in number.settings.agents()}
        cursor = await connection.execute(
            "select agent_id, id from agent_versions where state = 'published' and agent_id = any(%s)",
            ([ids.parsed(ids.AGENT, agent) for agent in named],),
        )
        versions = {
            AgentId(ids.written(ids.AGENT, agent)): VersionId(ids.written(ids.VERSION, version))
            for agent, version in await cursor.fetchall()
        }
        routing.know(numbers, versions)
        await plane.wallets.learn(connection, routing.projects())
        wanted = [ids.parsed(ids.VERSION, version) for version in routing.unknown_agents()]
        cursor = await connection.execute("select id, config from agent_versions where id = any(%s)", (wanted,))
        for version, config in await cursor.fetchall():
            routing.learn_version(VersionId(ids.written(ids.VERSION, version)), msgspec.convert(config, AgentSpec))


def _bound(project: UUID, number: UUID, settings: object, account: str) -> BoundNumber:
    return BoundNumber(
        project_id=ProjectId(ids.written(ids.PROJECT, project)),
        number_id=NumberId(ids.written(ids.NUMBER, number)),
        settings=msgspec.convert(settings, Settings),
        account=account,
    )
