"""What contacts write while they are on the phone: the agent that they speak with is told, and answers aloud.

Of one mouth one answer is expected. Whatever the call does not take is answered in writing, as any other message; so is
what the agent never came to speak about, once the call is over.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import select

from turncall_control.calls.commanding import ANSWER_WITHIN_S, asked
from turncall_control.calls.legs import CONTACT_OF_CALL
from turncall_control.chat import repository
from turncall_control.chat.model import MessageRow, SessionRow
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.command import Inject
from turncall_proto.ids import CallId

LONGEST: Final = 7900
"""Characters of a message that the agent is told."""
_CHANNELS: Final = {"sms": "SMS", "whatsapp": "WhatsApp message"}

_ON_THE_PHONE: Final[LiteralString] = (
    "select c.id from calls c where c.project_id = %(project)s"
    f" and (c.from_number = %(contact)s or c.to_number = %(contact)s) and {CONTACT_OF_CALL} = %(contact)s"
    " and (c.agent_id = %(agent)s or c.number_id = %(number)s)"
    " and c.status = 'in_progress' and c.concluded_at is null order by c.created_at desc limit 1"
)


async def call_of(connection: AsyncConnection[TupleRow], row: SessionRow) -> CallId | None:
    """The call in which the session's contact speaks at this moment, with its agent or on the number written to."""
    cursor = await connection.execute(
        _ON_THE_PHONE,
        {
            "project": ids.parsed(ids.PROJECT, row.project_id),
            "contact": row.contact,
            "agent": None if row.agent_id is None else ids.parsed(ids.AGENT, row.agent_id),
            "number": None if row.number_id is None else ids.parsed(ids.NUMBER, row.number_id),
        },
    )
    found = await cursor.fetchone()
    return None if found is None else CallId(ids.written(ids.CALL, found[0]))


async def tell(plane: Plane, message: MessageRow, call_id: CallId) -> bool:
    """Whether the agent on the call has been told of a stored message; if not, it is to be answered in writing.

    The command's id is the message's. Whoever dies in the middle leaves a message without an answer, which is found.
    """
    reply = await asked(
        plane,
        Inject(
            command_id=message.id,
            call_id=call_id,
            deadline=datetime.now(UTC) + timedelta(seconds=ANSWER_WITHIN_S),
            text=f"({_CHANNELS[message.channel]} from the caller, during this call:) {message.text[:LONGEST]}",
            role="user",
            is_answered=True,
        ),
        is_awaited=True,
    )
    is_told = reply is not None and reply.outcome == "done"
    async with plane.database.system() as session, session.begin():
        row = await repository.get(session, message.project_id, message.session_id, is_locked=True)
        if is_told:
            kept = await session.scalar(select(MessageRow).where(MessageRow.id == message.id))
            assert kept is not None  # a session keeps its messages as long as itself
            kept.told_on = call_id
            row.answered_through = max(row.answered_through, kept.seq)
        elif await repository.is_unanswered(session, row):
            await repository.order_turn(session, row)
    return is_told
