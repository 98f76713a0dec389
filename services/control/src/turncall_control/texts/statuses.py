"""What carriers say of a text, by callback or when asked: taken in whatever order it comes, and however often."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from turncall_control.carriers.accounts import Proof
from turncall_control.plane import Plane
from turncall_control.texts import optouts, queue
from turncall_control.texts.model import TextFailure, TextState
from turncall_control.wallet import TWILIO
from turncall_proto import ids
from turncall_proto.ids import ProjectId, TextId

_STATES: Final[Mapping[str, TextState]] = {
    "accepted": TextState.ACCEPTED,
    "scheduled": TextState.ACCEPTED,
    "queued": TextState.ACCEPTED,
    "sending": TextState.ACCEPTED,
    "sent": TextState.SENT,
    "delivered": TextState.DELIVERED,
    "read": TextState.READ,
    "undelivered": TextState.FAILED,
    "failed": TextState.FAILED,
}
_FAILURES: Final[Mapping[int, TextFailure]] = {
    21211: TextFailure.INVALID_NUMBER,
    21408: TextFailure.NOT_ALLOWED,
    21606: TextFailure.NOT_ALLOWED,
    21610: TextFailure.OPTED_OUT,
    21614: TextFailure.INVALID_NUMBER,
    30001: TextFailure.CARRIER_LIMIT,
    30002: TextFailure.NOT_ALLOWED,
    30003: TextFailure.UNREACHABLE,
    30004: TextFailure.BLOCKED,
    30005: TextFailure.INVALID_NUMBER,
    30006: TextFailure.INVALID_NUMBER,
    30007: TextFailure.BLOCKED,
    30008: TextFailure.UNKNOWN,
    30022: TextFailure.CARRIER_LIMIT,
    30032: TextFailure.NOT_ALLOWED,
    30034: TextFailure.NOT_ALLOWED,
    130429: TextFailure.CARRIER_LIMIT,
    130472: TextFailure.BLOCKED,
    131026: TextFailure.INVALID_NUMBER,
    131031: TextFailure.NOT_ALLOWED,
    131047: TextFailure.WINDOW_CLOSED,
    131048: TextFailure.CARRIER_LIMIT,
    131049: TextFailure.BLOCKED,
    131050: TextFailure.OPTED_OUT,
    131056: TextFailure.CARRIER_LIMIT,
}
"""Twilio's and WhatsApp's error codes of messages that were not delivered."""


async def take(
    plane: Plane, proof: Proof, text_id: TextId | None, provider_message_id: str, status: str, code: int | None
) -> bool:
    """Whether the statement is news of a text of ours, known by our id or, without it, by the carrier's.

    Raises what the database raises: it is to be said again.
    """
    if status not in _STATES or not provider_message_id:
        return False
    ours = None if text_id is None else ids.parsed(ids.TEXT, text_id)
    async with plane.database.pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "select id, project_id, provider, account, number_id, to_number from texts"
            " where id = %s or (%s::uuid is null and provider_message_id = %s) limit 1 for update",
            (ours, ours, provider_message_id),
        )
        row = await cursor.fetchone()
        if row is None:
            return False
        text, project, provider, account, number, to_number = row
        if not proof.covers(ProjectId(ids.written(ids.PROJECT, project)), account):
            return False
        if _failure(status, code) is TextFailure.OPTED_OUT and provider == TWILIO:
            await optouts.put_out(connection, project, number, to_number)
        return await note(connection, text, provider_message_id, status, code)


async def note(
    connection: queue.Connection, text: UUID, provider_message_id: str, status: str, code: int | None
) -> bool:
    """Whether the carrier's word for how a text stands brings it further; a word that is unknown does not."""
    state = _STATES.get(status)
    if state is None:
        return False
    return await queue.move(
        connection, text, state, provider_message_id=provider_message_id, failure=_failure(status, code), code=code
    )


def _failure(status: str, code: int | None) -> TextFailure | None:
    is_failed = _STATES[status] is TextState.FAILED
    return _FAILURES.get(code or 0, TextFailure.UNKNOWN) if is_failed else None
