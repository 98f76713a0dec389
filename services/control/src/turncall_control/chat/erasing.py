"""Erasing conversations in writing: messages, turns, what was told of them, then the sessions themselves."""

from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from turncall_control.db.engine import Pool

Connection = AsyncConnection[TupleRow]

_FOUND: Final[LiteralString] = """
    select id from sessions where project_id = %(project)s and (id = %(session)s or contact = %(contact)s) for update
"""


async def erase(pool: Pool, project: object, *, session: object = None, contact: str | None = None) -> int:
    """Erases one session of a project, or all of a contact's; the answer is how many. A turn that is under way finds
    its session gone and says nothing."""
    values = {"project": project, "session": session, "contact": contact}
    async with pool.connection() as connection, connection.transaction():
        found = [row[0] for row in await (await connection.execute(_FOUND, values)).fetchall()]
        if not found:
            return 0
        await connection.execute(
            "delete from webhook_deliveries where project_id = %(project)s and call_id is null"
            " and coalesce(data ->> 'session_id', data ->> 'id')"
            " = any(select 'ses_' || replace(s::text, '-', '') from unnest(%(found)s::uuid[]) s)",
            {**values, "found": found},
        )
        for table in ("jobs", "texts", "messages", "session_calls"):
            await _delete(connection, table, "session_id", found)
        await _delete(connection, "sessions", "id", found)
    return len(found)


async def _delete(connection: Connection, table: LiteralString, column: LiteralString, found: list[object]) -> None:
    await connection.execute(f"delete from {table} where {column} = any(%s)", (found,))
