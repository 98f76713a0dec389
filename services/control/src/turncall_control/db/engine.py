"""Connections: two logins through SQLAlchemy, and a bare pool for what is asked a thousand times a second.

``api`` is under row-level security and sees only the project that its transaction names; ``system`` sees every project
and serves look-ups by key or number, the operator's routes and background work.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from select import POLLIN, poll
from typing import Any, Final

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection, OperationalError
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction

from turncall_proto import ids
from turncall_proto.ids import ProjectId
from turncall_runtime import logs
from turncall_runtime.secret import Secret

CONNECT_WITHIN_S: Final = 2
"""A request does not wait longer than this for a connection; then the database counts as away."""
STATEMENT_WITHIN_S: Final = 10
"""Postgres cancels a statement that takes longer."""
SESSIONS: Final = 10
"""Connections that one process keeps for each login."""

SetProject: Final = text("select set_config('app.project', :project, true)")

PROBE_EVERY_S: Final = 0.5
"""Between two looks for a database that is away."""

log = logs.logger(__name__)


class Away(PoolTimeout):
    """The database could not be reached a moment ago; nobody waits for it until it answers again."""


class Pool(AsyncConnectionPool[AsyncConnection[TupleRow]]):
    """Bare connections. Once the database could not be reached, one probe waits for it, and everybody else is refused.

    A pool that is merely used up refuses nobody: the time-out of a request counts only if connecting failed meanwhile.
    """

    _probing: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether the database could not be reached when it was last asked."""
        return self._probing is not None

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[TupleRow]:
        """See `AsyncConnectionPool.getconn`. Raises `Away` at once while the database is away."""
        if self.is_away:
            raise Away("the database could not be reached a moment ago")
        failed = self._failed()
        try:
            return await super().getconn(timeout)
        except PoolTimeout:
            if self._failed() > failed and not self.is_away:
                log.error("database.away")
                self._probing = asyncio.create_task(self._probe(), name="database probe")
            raise

    async def close(self, timeout: float = 5.0) -> None:
        """See `AsyncConnectionPool.close`."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait({self._probing})
        await super().close(timeout)

    def _failed(self) -> int:
        """How many attempts to connect have failed."""
        return self.get_stats().get("connections_errors", 0)

    async def _probe(self) -> None:
        while True:
            try:
                connection = await super().getconn(PROBE_EVERY_S)
            except PoolTimeout:
                continue  # that was the pause
            await self.putconn(connection)
            log.info("database.back")
            self._probing = None
            return


class WatchedSession(Session):
    """The synchronous half of every session of ours: what listens to changes listens to it."""


class _ScopedSession(WatchedSession):
    """The synchronous half of a session of the ``api`` login; only it carries the project."""


@event.listens_for(_ScopedSession, "after_begin")
def _name_project(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Every transaction names its project anew: the setting is local to it, which also suits a pooler."""
    project_id: ProjectId | None = session.info.get("project_id")
    if project_id is not None:
        connection.execute(SetProject, {"project": str(ids.parsed(ids.PROJECT, project_id))})


class Database(Struct, frozen=True, kw_only=True):
    """``api()`` and ``system()`` make sessions; ``pool`` lends bare psycopg connections of the system login."""

    api: async_sessionmaker[AsyncSession]
    system: async_sessionmaker[AsyncSession]
    pool: Pool


def project_scope(session: AsyncSession, project_id: ProjectId) -> AsyncSession:
    """Binds a session of the ``api`` login to a project, in this and every later transaction of it; returns it.

    A session that was never bound sees no rows of any project.
    """
    session.sync_session.info["project_id"] = project_id
    return session


async def bare(session: AsyncSession) -> AsyncConnection[TupleRow]:
    """The psycopg connection of a session's transaction, for what is written in SQL."""
    raw = await (await session.connection()).get_raw_connection()
    connection = raw.driver_connection
    if not isinstance(connection, AsyncConnection):
        raise TypeError(f"the session is not on psycopg but on {type(connection).__name__}")
    return connection


@asynccontextmanager
async def in_project(database: Database, project_id: ProjectId) -> AsyncIterator[AsyncSession]:
    """One transaction of the ``api`` login in a project: committed at the end, rolled back by an exception."""
    async with database.api() as session, session.begin():
        yield project_scope(session, project_id)


@asynccontextmanager
async def opened(api_url: Secret, system_url: Secret) -> AsyncIterator[Database]:
    """A database whose connections are made as they are needed, so that it may be away at the start."""
    pool = Pool(
        system_url.reveal(),
        min_size=1,
        max_size=SESSIONS,
        timeout=CONNECT_WITHIN_S,
        kwargs={"autocommit": True, **_limits()},
        check=require_open,
        reconnect_timeout=PROBE_EVERY_S,  # then the next request, or the probe, has it try again
        open=False,
        name="system",
    )
    api, system = _engine(api_url, pool), _engine(system_url, pool)
    await pool.open()
    try:
        yield Database(
            api=async_sessionmaker(api, sync_session_class=_ScopedSession, expire_on_commit=False),
            system=async_sessionmaker(system, sync_session_class=WatchedSession, expire_on_commit=False),
            pool=pool,
        )
    finally:
        await pool.close(timeout=2)
        await api.dispose()
        await system.dispose()


async def require_open(connection: AsyncConnection[TupleRow]) -> None:
    """Raises what psycopg raises when the server has closed a connection that nobody used.

    A server that ends a connection says so on its socket, where an idle one has nothing to read; only then is it asked.
    Asking each time, psycopg's own check, is a round trip for every loan.
    """
    idle = poll()
    idle.register(connection.fileno(), POLLIN)
    if idle.poll(0):
        await Pool.check_connection(connection)


def _engine(url: Secret, pool: Pool) -> AsyncEngine:
    """Sessions, which do not try to connect either while ``pool`` knows the database to be away."""

    def refuse_while_away(*_: object) -> None:
        if pool.is_away:
            raise OperationalError("the database could not be reached a moment ago")

    engine = create_async_engine(
        make_url(url.reveal()).set(drivername="postgresql+psycopg"),
        pool_size=SESSIONS,
        max_overflow=0,
        pool_timeout=CONNECT_WITHIN_S,
        pool_pre_ping=True,
        connect_args=_limits(),
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    event.listen(engine.sync_engine, "do_connect", refuse_while_away)
    return engine


def _limits() -> dict[str, Any]:
    return {"connect_timeout": CONNECT_WITHIN_S, "options": f"-c statement_timeout={STATEMENT_WITHIN_S * 1000}"}
