"""Erasing conversations in writing: messages, turns, what was told of them, then the sessions themselves."""

from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from turncall_control.db.engine import Pool

Connection = AsyncConnection[TupleRow]

_FOUND: Final[LiteralString] = """
    select id from sessions where project_id = %(project)s and (id = %(session)s or contact = %(contact)s) for update
"""


AT_ONCE: Final = 200
"""Sessions that one transaction erases for their age."""
_OLD: Final[LiteralString] = """
    select id from sessions where project_id = %s and state <> 'active'
    and coalesce(ended_at, expires_at) < now() - make_interval(days => %s) order by id limit %s for update skip locked
"""


async def erase(pool: Pool, project: object, *, session: object = None, contact: str | None = None) -> int:
    """Erases one session of a project, or all of a contact's; the answer is how many. A turn that is under way finds
    its session gone and says nothing."""
    values = {"project": project, "session": session, "contact": contact}
    async with pool.connection() as connection, connection.transaction():
        found = [row[0] for row in await (await connection.execute(_FOUND, values)).fetchall()]
        await _erase(connection, project, found)
    return len(found)


async def erase_older(pool: Pool, project: object, days: int) -> int:
    """Erases sessions of a project that have been over for so many days, `AT_ONCE` at most; the answer is how many."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(_OLD, (project, days, AT_ONCE))
        found = [row[0] for row in await cursor.fetchall()]
        await _erase(connection, project, found)
    return len(found)


async def _erase(connection: Connection, project: object, found: list[object]) -> None:
    if not found:
        return
    await connection.execute(
        "delete from webhook_deliveries where project_id = %s and call_id is null"
        " and coalesce(data ->> 'session_id', data ->> 'id')"
        " = any(select 'ses_' || replace(s::text, '-', '') from unnest(%s::uuid[]) s)",
        (project, found),
    )
    for table in ("jobs", "texts", "messages", "session_calls"):
        await _delete(connection, table, "session_id", found)
    await _delete(connection, "sessions", "id", found)


async def _delete(connection: Connection, table: LiteralString, column: LiteralString, found: list[object]) -> None:
    await connection.execute(f"delete from {table} where {column} = any(%s)", (found,))
