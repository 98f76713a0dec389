"""The words by which people say that they want no messages, or want them again, and who has said so.

The carrier knows the same words: it answers them itself, and refuses to send to who wants nothing (Twilio, 21610). So
nobody here answers them, and what is remembered keeps a message from being asked for in vain.
"""

from typing import Final, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

Connection = AsyncConnection[TupleRow]
Wish = Literal["stop", "start", "help"]

_STOP: Final = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
_START: Final = frozenset({"START", "YES", "UNSTOP"})
_HELP: Final = frozenset({"HELP", "INFO"})


def wish(text: str, *, is_out: bool) -> Wish | None:
    """What a whole message asks of the carrier, whatever its case; None for one that is meant for the agent.

    To somebody who has not opted out, YES is an answer like any other.
    """
    word = text.strip().upper()
    if word in _STOP:
        return "stop"
    if word in _HELP:
        return "help"
    return "start" if is_out and word in _START else None


async def is_out(connection: Connection, number: UUID, contact: str) -> bool:
    """Whether the contact wants no messages from this number."""
    cursor = await connection.execute("select from opt_outs where number_id = %s and contact = %s", (number, contact))
    return await cursor.fetchone() is not None


async def put_out(connection: Connection, project: UUID, number: UUID, contact: str) -> None:
    """From here on the contact gets nothing from this number. A repeat changes nothing."""
    await connection.execute(
        "insert into opt_outs (project_id, number_id, contact) values (%s, %s, %s) on conflict do nothing",
        (project, number, contact),
    )


async def let_in(connection: Connection, number: UUID, contact: str) -> None:
    """The contact wants messages again."""
    await connection.execute("delete from opt_outs where number_id = %s and contact = %s", (number, contact))
