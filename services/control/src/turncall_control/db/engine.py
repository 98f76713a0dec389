"""Connections: two logins through SQLAlchemy, and a bare pool for what is asked a thousand times a second.

``api`` is under row-level security and sees only the project that its transaction names; ``system`` sees every project
and serves look-ups by key or number, the operator's routes and background work.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction

from turncall_proto import ids
from turncall_proto.ids import ProjectId
from turncall_runtime.secret import Secret

CONNECT_WITHIN_S: Final = 2
"""A request does not wait longer than this for a connection; then the database counts as away."""
STATEMENT_WITHIN_S: Final = 10
"""Postgres cancels a statement that takes longer."""
SESSIONS: Final = 10
"""Connections that one process keeps for each login."""

SetProject: Final = text("select set_config('app.project', :project, true)")

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


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


@asynccontextmanager
async def in_project(database: Database, project_id: ProjectId) -> AsyncIterator[AsyncSession]:
    """One transaction of the ``api`` login in a project: committed at the end, rolled back by an exception."""
    async with database.api() as session, session.begin():
        yield project_scope(session, project_id)


@asynccontextmanager
async def opened(api_url: Secret, system_url: Secret) -> AsyncIterator[Database]:
    """A database whose connections are made as they are needed, so that it may be away at the start."""
    api, system = _engine(api_url), _engine(system_url)
    pool = Pool(
        system_url.reveal(),
        min_size=1,
        max_size=SESSIONS,
        timeout=CONNECT_WITHIN_S,
        kwargs={"autocommit": True, **_limits()},
        check=Pool.check_connection,
        reconnect_timeout=5,
        open=False,
        name="system",
    )
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


def _engine(url: Secret) -> AsyncEngine:
    return create_async_engine(
        make_url(url.reveal()).set(drivername="postgresql+psycopg"),
        pool_size=SESSIONS,
        max_overflow=0,
        pool_timeout=CONNECT_WITHIN_S,
        pool_pre_ping=True,
        connect_args=_limits(),
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )


def _limits() -> dict[str, Any]:
    return {"connect_timeout": CONNECT_WITHIN_S, "options": f"-c statement_timeout={STATEMENT_WITHIN_S * 1000}"}
