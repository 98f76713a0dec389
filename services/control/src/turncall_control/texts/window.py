"""For how long after a contact's last message WhatsApp takes any text; later it takes templates alone."""

from typing import Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

HAS_WRITTEN: Final[LiteralString] = (
    "exists (select from sessions ws join messages wm on wm.session_id = ws.id and wm.author = 'contact'"
    " and wm.number_id = {number} and wm.created_at > now() - interval '24 hours'"
    " where ws.project_id = {project} and ws.contact = {contact})"
)
"""An expression for whether a contact has written to a number within the window."""


async def is_open(connection: AsyncConnection[TupleRow], project: UUID, number: UUID, contact: str) -> bool:
    """Whether the contact has written to the number within the last 24 hours."""
    asked = HAS_WRITTEN.format(number="%(number)s", project="%(project)s", contact="%(contact)s")
    cursor = await connection.execute(f"select {asked}", {"number": number, "project": project, "contact": contact})
    row = await cursor.fetchone()
    return bool(row and row[0])
