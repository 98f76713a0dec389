"""Ending a live call by our own will: the worker that holds it is asked, or its line is closed at the carrier."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from turncall_control.calls import commanding, hangups, ledger, news
from turncall_control.plane import Plane
from turncall_proto.call import CallState, EndedReason
from turncall_proto.command import CommandReply, EndCall
from turncall_proto.ids import CallId

END_WITHIN_S: Final = 2.0
"""How long a worker has to confirm that it ends a call."""


async def asked(plane: Plane, call_id: CallId) -> CommandReply | None:
    """What the call's worker says to the command to end it; None when no worker answers in time."""
    deadline = datetime.now(UTC) + timedelta(seconds=END_WITHIN_S)
    return await commanding.asked(plane, EndCall(command_id=uuid4().hex, call_id=call_id, deadline=deadline))


async def closed(plane: Plane, call_id: CallId) -> bool:
    """Stores that the call is to end, which has the carrier close its line. False when it is over already."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        if call is None or call.standing.is_final:
            return False
        intended = await hangups.intend(connection, call, EndedReason.API_ENDED_CALL, CallState.COMPLETED, due_in_s=0)
    await news.publish(plane.bus, intended)
    return True
