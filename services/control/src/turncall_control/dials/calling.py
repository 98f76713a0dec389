"""Calling a person over WhatsApp, who must have let the number do so: a worker is found first, since WhatsApp is given
its offer of sound with the wish to call."""

from typing import Final

from msgspec.structs import replace
from sqlalchemy import select

from turncall_control.calls import exchange, ledger, placement
from turncall_control.calls.exchange import WorkerGone
from turncall_control.calls.plans import begin_epoch, plan
from turncall_control.carriers.base import CarrierError, NotReached, Rejected, Unavailable
from turncall_control.carriers.whatsapp_calls import WhatsAppLine
from turncall_control.db.base import owned
from turncall_control.db.engine import in_project
from turncall_control.dials.queue import Dial
from turncall_control.errors import Conflict
from turncall_control.numbers.model import NumberRow
from turncall_control.numbers.service import SENDER, carrier_errors
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.call import CallStart
from turncall_proto.ids import CallId, ProjectId

NO_WORKER: Final = "no worker has room for the call"


class NoPermission(Conflict):
    """The person has not let the number call, or does not any more. A message may ask for it: a template of the
    business's with a call permission request."""

    name, title = "no-call-permission", "The person does not let this number call"


async def require_permission(plane: Plane, project_id: ProjectId, from_number: str, to_number: str) -> None:
    """Asks WhatsApp. Raises `NoPermission`, and what a carrier's errors become; a number that is not there is left to
    whoever takes the call on."""
    async with in_project(plane.database, project_id) as session:
        account = await session.scalar(
            select(NumberRow.account).where(
                NumberRow.e164 == from_number, NumberRow.carrier == SENDER, owned(NumberRow.project_id, project_id)
            )
        )
    with carrier_errors():
        line = None if account is None else await plane.accounts.whatsapp_line(project_id, account)
        if line is not None and not await line.may_call(to_number):
            raise NoPermission


async def place(plane: Plane, line: WhatsAppLine, dial: Dial) -> str:
    """WhatsApp's id of the call, whose worker waits for whoever is called. Asked once.

    Raises a `CarrierError`: `NotReached` when no worker could be had, so that nobody was asked.
    """
    planned = await _placed(plane, dial)
    assert planned.offered_to is not None  # it is placed
    try:
        sdp = await exchange.want(plane, planned.offered_to, planned, dial.ring_timeout_s)
    except WorkerGone as error:
        await _let_go(plane, planned)
        raise NotReached(NO_WORKER) from error
    await placement.announce(plane.bus, planned)
    try:
        return await line.place_call(dial.to_number, sdp, planned.call_id)
    except CarrierError as error:
        if not isinstance(error, Unavailable) or isinstance(error, NotReached):
            await _let_go(plane, planned)
        raise  # where nobody knows, the worker waits for the answer that a webhook may bring


async def _placed(plane: Plane, dial: Dial) -> CallStart:
    """The plan for a worker that holds a slot; the call is in its epoch from here on. Raises `NotReached`."""
    call_id = dial.call.call_id
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id]))[call_id]
        made = await plan(connection, plane, call_id, call.standing.epoch + 1)
        if made is None:
            raise Rejected("no agent speaks")
        # Its stream is known by our id: WhatsApp has none of its own yet.
        placed = await placement.place(plane.bus, plane.workers, replace(made, provider_call_id=call_id))
        if placed is None:
            raise NotReached(NO_WORKER)
        await begin_epoch(connection, placed)
    return placed.plan


async def _let_go(plane: Plane, planned: CallStart) -> None:
    """Has the worker give its slot back; what it says of the epoch's end ends no call that may be placed yet."""
    async with plane.database.pool.connection() as connection:
        await connection.execute(
            "update calls set left_epoch = greatest(left_epoch, %s) where id = %s",
            (planned.epoch, ids.parsed(ids.CALL, planned.call_id)),
        )
    await exchange.tell_over(plane, CallId(planned.call_id))
