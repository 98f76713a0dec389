"""What the carrier asks and tells while a caller is being connected to a person: of the caller, the person, their room.

Every question is answered from the transfer's row: so any replica answers, and a repeat gets the same answer.
"""

from typing import Final, Literal
from uuid import UUID

from turncall_control.calls import ledger, news
from turncall_control.calls.transfers import PENDING, Outcome, State, Transfer, advance, fail, find, stated, url
from turncall_control.carriers.accounts import Proof
from turncall_control.carriers.base import Documents
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.events import CallTransferred, ParticipantChanged, TransferAnswered
from turncall_proto.ids import CallId, ProjectId

CONNECTED_S: Final = 15.0
"""Beyond the ringing of a cold transfer, until the carrier is asked what became of it."""
GONE: Final = "The caller is no longer there."
NOT_REACHED: Final = ("busy", "no-answer", "failed", "canceled", "completed")

CHANGES: Final[dict[str, Literal["joined", "left", "held", "unheld", "muted", "unmuted"]]] = {
    "participant-join": "joined",
    "participant-leave": "left",
    "participant-hold": "held",
    "participant-unhold": "unheld",
    "participant-mute": "muted",
    "participant-unmute": "unmuted",
}


async def found(plane: Plane, proof: Proof, transfer_id: UUID) -> tuple[CallId, int] | None:
    """The call and the epoch of a transfer; None for one that is not known, or that the webhook is no proof for."""
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            "select c.id, c.project_id, c.account, t.epoch from transfers t join calls c on c.id = t.call_id"
            " where t.id = %s",
            (transfer_id,),
        )
        row = await cursor.fetchone()
    if row is None or not proof.covers(ProjectId(ids.written(ids.PROJECT, row[1])), row[2]):
        return None
    return CallId(ids.written(ids.CALL, row[0])), row[3]


async def document_for_caller(plane: Plane, documents: Documents, provider: str, transfer_id: UUID) -> str | None:
    """What the carrier does with a caller who was taken off the agent's stream; None once that has failed."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        transfer = await find(connection, transfer_id, is_locked=True)
        if transfer is None or transfer.state not in PENDING:
            return None
        order = transfer.wanted
        if transfer.state == "asked":
            due_s = 0.0 if order.mode == "warm" else order.ring_s + CONNECTED_S
            await connection.execute(
                "update transfers set state = 'ringing', tries = 0,"
                " due_at = now() + make_interval(secs => %s) where id = %s",
                (due_s, transfer_id),
            )
    plane.transfers_due.set()
    after = url(plane, provider, transfer_id, "transferred")
    if order.mode == "warm":
        told = url(plane, provider, transfer_id, "conference")
        return documents.wait_in_room(room=transfer.room, action_url=after, status_url=told)
    return documents.connect_to(
        to=order.to,
        caller_id=transfer.caller_id,
        ring_s=order.ring_s,
        action_url=after,
        status_url=url(plane, provider, transfer_id, "operator-status"),
    )


async def picked_up(
    plane: Plane, documents: Documents, provider: str, transfer_id: UUID, operator_call: str, answered_by: str
) -> str:
    """What a person hears who picked up a warm transfer."""
    if answered_by.startswith(("machine", "fax")):
        await fail(plane, transfer_id, "machine")
        return documents.hang_up()
    told = [TransferAnswered]
    transfer = await advance(plane, transfer_id, ("ringing",), "briefed", told, operator_call=operator_call)
    transfer = transfer or await _taken(plane, transfer_id, operator_call, "briefed", "accepted", "joined")
    if transfer is None:
        return documents.say_and_hang_up(GONE)
    order = transfer.wanted
    if order.accept_key and transfer.state == "briefed":
        key_url = url(plane, provider, transfer_id, "accept")
        return documents.ask_for_key(sentence=order.briefing, key=order.accept_key, action_url=key_url)
    return await _joining(plane, documents, provider, transfer, "" if order.accept_key else order.briefing)


async def key_pressed(
    plane: Plane, documents: Documents, provider: str, transfer_id: UUID, operator_call: str, digits: str
) -> str:
    """What a person hears who pressed a key, or none: then nobody may be there, or a machine."""
    transfer = await _taken(plane, transfer_id, operator_call, "briefed", "accepted", "joined")
    if transfer is None:
        return documents.say_and_hang_up(GONE)
    if digits != transfer.wanted.accept_key:
        await fail(plane, transfer_id, "declined" if digits else "no_answer")
        return documents.hang_up()
    return await _joining(plane, documents, provider, transfer, "")


async def leg_said(plane: Plane, transfer_id: UUID, leg: str, status: str, sip_code: int | None) -> None:
    """What the carrier says of the leg to the person, whose id may not have reached us otherwise."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        transfer = await find(connection, transfer_id, is_locked=True)
        if transfer is None:
            return
        is_warm = transfer.wanted.mode == "warm"
        if is_warm and not transfer.operator_call:
            await connection.execute(
                "update transfers set operator_call = %s,"
                " due_at = case when state = any(%s) then due_at else now() end where id = %s",
                (leg, list(PENDING), transfer_id),
            )
    if status == "in-progress" and not is_warm:
        await connected(plane, transfer_id)
    elif is_warm and status in NOT_REACHED:
        await fail(plane, transfer_id, outcome_of(status, sip_code))


def outcome_of(status: str, sip_code: int | None = None) -> Outcome:
    """The carrier's word for a leg that did not come about, in ours; one that was completed was hung up on."""
    if status == "busy":
        return "declined" if sip_code == 603 else "busy"
    known: dict[str, Outcome] = {"no-answer": "no_answer", "canceled": "no_answer", "completed": "declined"}
    return known.get(status, "failed")


async def room_said(plane: Plane, transfer_id: UUID, event: str, who: str, number: str) -> None:
    """What the carrier says of the room in which both meet; ``number`` is the statement's own, by which a repeat is
    known."""
    change = CHANGES.get(event)
    async with plane.database.pool.connection() as connection, connection.transaction():
        transfer = await find(connection, transfer_id)
        if transfer is None or change is None:
            return
        call_id = CallId(ids.written(ids.CALL, transfer.call_id))
        call = (await ledger.lock(connection, [call_id]))[call_id]
        cursor = await connection.execute(
            "update transfers set told = array_append(told, %s) where id = %s and not %s = any(told)"
            " returning operator_call",
            (number, transfer_id, number),
        )
        row = await cursor.fetchone()
        if row is None:
            return
        is_person = who == row[0]
        party = "person" if is_person else "caller" if who == call.provider_call_id else "other"
        said = {"party": party, "change": change}
        appended = await stated(connection, call, transfer_id, [(ParticipantChanged, said)])
    await news.publish(plane.bus, appended)
    if is_person and change == "joined":
        await joined(plane, transfer_id)


async def joined(plane: Plane, transfer_id: UUID) -> None:
    """The person is in the room with the caller."""
    await advance(plane, transfer_id, ("briefed", "accepted"), "joined", [CallTransferred])


async def connected(plane: Plane, transfer_id: UUID) -> None:
    """The person of a cold transfer has picked up, and has the caller."""
    await advance(plane, transfer_id, ("ringing",), "joined", [TransferAnswered, CallTransferred])


async def connection_ended(plane: Plane, transfer_id: UUID, status: str) -> bool:
    """Whether the caller was connected, now that it is over; if not, they are on their way back to the agent."""
    if status in ("completed", "answered"):
        async with plane.database.pool.connection() as connection:
            transfer = await find(connection, transfer_id)
        if transfer is not None and transfer.wanted.mode == "cold":
            await connected(plane, transfer_id)
        elif transfer is not None:
            await advance(plane, transfer_id, ("accepted",), "joined", [CallTransferred])
        if transfer is not None and await _taken(plane, transfer_id, None, "joined") is not None:
            return True
    await fail(plane, transfer_id, outcome_of(status), is_here=True)
    return False


async def caller_gone(plane: Plane, transfer_id: UUID) -> None:
    """The caller hung up, or was: whoever is being rung for them, or listens to the briefing, is let go."""
    async with plane.database.pool.connection() as connection:
        await connection.execute(
            "update transfers set due_at = now() where id = %s and state = any(%s)", (transfer_id, list(PENDING))
        )
    plane.transfers_due.set()


async def _taken(plane: Plane, transfer_id: UUID, operator_call: str | None, *states: State) -> Transfer | None:
    """The transfer if it is in one of these states, by this leg to the person or, with None, by any."""
    async with plane.database.pool.connection() as connection:
        transfer = await find(connection, transfer_id)
    if transfer is None or transfer.state not in states:
        return None
    return transfer if operator_call in (None, transfer.operator_call) else None


async def _joining(plane: Plane, documents: Documents, provider: str, transfer: Transfer, sentence: str) -> str:
    """The person takes the call: they hear ``sentence`` and are joined, which the room's own word makes true."""
    accepted = await advance(plane, transfer.id, ("briefed",), "accepted", [])
    if accepted is None and await _taken(plane, transfer.id, transfer.operator_call, "accepted", "joined") is None:
        return documents.say_and_hang_up(GONE)
    told = url(plane, provider, transfer.id, "conference")
    return documents.join_room(sentence=sentence, room=transfer.room, status_url=told)
