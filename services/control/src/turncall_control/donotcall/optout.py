"""A person tells an agent that they do not want to be called: whose number that is, is read here and told by nobody."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from turncall_control.calls.ledger import Connection
from turncall_control.db.engine import in_project
from turncall_control.donotcall import repository
from turncall_control.donotcall.model import ListedBy
from turncall_control.plane import Plane
from turncall_control.routing import E164
from turncall_proto import ids
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, OptOutAsked
from turncall_proto.ids import ProjectId
from turncall_runtime import logs

_WHOSE: Final = {
    ids.CALL: "select case when direction = 'inbound' then from_number else to_number end from calls"
    " where id = %s and project_id = %s",
    ids.SESSION: "select contact from sessions where id = %s and project_id = %s",
}
"""The address of who speaks or writes with the agent, by what the conversation is."""

log = logs.logger(__name__)


async def answer(plane: Plane, data: bytes) -> bytes:
    """Serves the act ``opt_out``: the number is on the list when ``is_taken`` comes back. A repeat changes nothing."""
    asked = decode(data, OptOutAsked)
    if asked.deadline < datetime.now(UTC):
        return encode(ActReply(is_taken=False, detail="late"))
    async with plane.database.pool.connection() as connection:
        number = await _number(connection, asked.project_id, asked.call_id)
    if number is None:
        return encode(ActReply(is_taken=False, detail="their number is not known"))
    async with in_project(plane.database, asked.project_id) as session:
        await repository.add(session, asked.project_id, (number,), ListedBy.PERSON, "")
    log.info("opt_out.taken", call_id=asked.call_id)
    return encode(ActReply(is_taken=True))


async def _number(connection: Connection, project_id: ProjectId, conversation: str) -> str | None:
    """The phone number of the person in a conversation of the project; None where there is none."""
    prefix = conversation.partition("_")[0]
    if prefix not in _WHOSE:
        return None
    cursor = await connection.execute(
        _WHOSE[prefix], (ids.parsed(prefix, conversation), ids.parsed(ids.PROJECT, project_id))
    )
    (number,) = await cursor.fetchone() or (None,)
    try:
        return msgspec.convert(number, E164)
    except msgspec.ValidationError:
        return None
