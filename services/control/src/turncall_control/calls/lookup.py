"""What a carrier's number is bound to and which versions answer calls, out of the database and kept in mind."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from turncall_control.calls.ringing import Ringing, is_proven
from turncall_control.db.engine import Pool
from turncall_control.plane import Plane
from turncall_control.routing import KNOWN_AT_MOST, BoundNumber, Published, Settings
from turncall_control.settings import DEFAULT_LANGUAGE_OF_P
from turncall_control.wallet import STORED_OF, StoredJson
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId


class Unrouted(Exception):
    """Nothing answers on the number; the message says why, for the operator's log."""


class Answering(Struct, frozen=True, kw_only=True):
    """An agent's published version, and how many calls the agent may have at a time."""

    agent_id: UUID
    version_id: UUID
    max_calls: int | None


class KnownCall(Struct, frozen=True, kw_only=True):
    """A call that has a row: whose it is, and what the carrier was told."""

    project_id: UUID
    answer: str | None


class KnownSession(Struct, frozen=True, kw_only=True):
    """A living session of whoever calls, and whom it is with."""

    id: UUID
    agent_id: UUID | None

    @property
    def agent(self) -> AgentId | None:
        """As the API writes it."""
        return None if self.agent_id is None else AgentId(ids.written(ids.AGENT, self.agent_id))


class Found(Struct, frozen=True, kw_only=True):
    """What the database knew about a number and a call on it at one moment, ``asked_at``.

    ``published`` are the versions that answer for the agents that the number names; ``stored`` are the project's
    credentials; ``sessions`` are those of the caller that live, the newest first.
    """

    asked_at: datetime
    number: BoundNumber
    max_calls: int | None
    max_calls_of_project: int | None
    call: KnownCall | None
    published: Mapping[AgentId, Answering]
    stored: Sequence[StoredJson]
    sessions: Sequence[KnownSession]

    def answering(self, agent_id: AgentId) -> Published | None:
        """The version with which an agent answers calls; None without one, and for a foreign agent."""
        answering = self.published.get(agent_id)
        version_id = answering and VersionId(ids.written(ids.VERSION, answering.version_id))
        return Published(agent_id=agent_id, version_id=version_id) if version_id else None


class _Row(Struct, frozen=True, kw_only=True):
    """The answer to `_ABOUT`."""

    asked_at: datetime
    project: UUID
    number: UUID
    settings: Settings
    account: str
    default_language: str
    max_calls: int | None
    max_calls_of_project: int | None
    call: KnownCall | None
    published: list[Answering]
    stored: list[StoredJson]
    sessions: list[KnownSession]


_ABOUT: Final = f"""
    select json_build_object(
        'asked_at', now(), 'project', p.id, 'number', n.id, 'settings', n.settings, 'account', n.account,
        'default_language', {DEFAULT_LANGUAGE_OF_P},
        'max_calls', n.max_concurrent_calls, 'max_calls_of_project', p.settings #> '{{limits,concurrent_calls}}',
        'call', (select json_build_object('project_id', c.project_id, 'answer', c.answer) from calls c where c.id = %s),
        'published', (
            select coalesce(json_agg(json_build_object(
                'agent_id', a.id, 'version_id', v.id, 'max_calls', a.max_concurrent_calls)), '[]')
            from agent_versions v join agents a on a.id = v.agent_id
            where v.state = 'published' and v.project_id = p.id and v.agent_id = any(array(
                select right(named #>> '{{}}', 32)::uuid from jsonb_path_query(n.settings, '$.**.agent_id') named))),
        'sessions', (
            select coalesce(json_agg(json_build_object('id', s.id, 'agent_id', s.agent_id) order by s.expires_at desc),
                '[]') from sessions s
            where s.project_id = p.id and s.contact = %s and s.state = 'active' and s.expires_at > now()),
        'stored', {STORED_OF})::text
    from numbers n join projects p on p.id = n.project_id and p.deleted_at is null
    where n.carrier = %s and n.e164 = %s
"""
"""All that decides about a call, in one round trip; as one text, which msgspec reads in 15 us."""


async def find(plane: Plane, ringing: Ringing) -> Found:
    """What the number that rings does with its calls, noted in the plane's routing.

    Raises `Unrouted` when it is not bound, and when it is in another account than the one that the webhook is proof of.
    """
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            _ABOUT,
            (ids.parsed(ids.CALL, ringing.call_id), ringing.from_number, ringing.provider, ringing.to_number),
        )
        answer = await cursor.fetchone()
    if answer is None:
        raise Unrouted("the number is not bound")
    row = msgspec.json.decode(answer[0], type=_Row)
    number = BoundNumber(
        project_id=ProjectId(ids.written(ids.PROJECT, row.project)),
        number_id=NumberId(ids.written(ids.NUMBER, row.number)),
        settings=row.settings,
        account=row.account,
        default_language=row.default_language,
    )
    if not is_proven(plane, ringing.proof, number):
        raise Unrouted("the webhook is not of the account that owns the number")
    plane.routing.used(ringing.provider, ringing.to_number, number)
    return Found(
        asked_at=row.asked_at,
        number=number,
        max_calls=row.max_calls,
        max_calls_of_project=row.max_calls_of_project,
        call=row.call,
        published={AgentId(ids.written(ids.AGENT, one.agent_id)): one for one in row.published},
        stored=row.stored,
        sessions=row.sessions,
    )


async def definition(plane: Plane, version_id: VersionId) -> AgentSpec | None:
    """What a version says, which never changes: it is read once. None when there is no such version."""
    known = plane.routing.recall_version(version_id)
    if known is not None:
        return known
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            "select config from agent_versions where id = %s", (ids.parsed(ids.VERSION, version_id),)
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    agent = msgspec.convert(row[0], AgentSpec)
    plane.routing.learn_version(version_id, agent)
    return agent


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
            f"select n.carrier, n.e164, n.project_id, n.id, n.settings, n.account, {DEFAULT_LANGUAGE_OF_P}"
            " from numbers n join projects p on p.id = n.project_id and p.deleted_at is null limit %s",
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


def _bound(project: UUID, number: UUID, settings: object, account: str, default_language: str) -> BoundNumber:
    return BoundNumber(
        project_id=ProjectId(ids.written(ids.PROJECT, project)),
        number_id=NumberId(ids.written(ids.NUMBER, number)),
        settings=msgspec.convert(settings, Settings),
        account=account,
        default_language=default_language,
    )
