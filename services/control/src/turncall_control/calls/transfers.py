"""Callers who are being connected to a person: how each transfer stands, and what moves it on.

A transfer is ``asked`` until the carrier has taken the caller off the agent's stream, ``ringing`` until the person
picks up, ``briefed`` until they take the call, ``accepted`` until they and the caller hear each other, ``joined``
then; or ``failed`` until the caller is back with the agent (``returned``). `connecting` answers the carrier's questions
from the row, `transferring` has the carrier do the next step.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import class_row

from turncall_control.calls import ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.projector import record
from turncall_control.plane import Plane
from turncall_control.settings import ProjectSettings
from turncall_proto import ids
from turncall_proto.command import TransferOrder
from turncall_proto.events import CallEvent, TransferHasFailed
from turncall_proto.ids import CallId
from turncall_runtime import logs

AGAIN_S: Final = 5.0
"""After which a carrier that did not do what it was asked is asked again."""
LOOK_S: Final = 10.0
"""After which the carrier is asked how the leg to a person stands, of which nothing was heard meanwhile."""

Outcome = Literal["busy", "no_answer", "declined", "machine", "failed"]
State = Literal["asked", "ringing", "briefed", "accepted", "joined", "failed", "returned"]
PENDING: Final[tuple[State, ...]] = ("asked", "ringing", "briefed", "accepted")
_LIVE_ONLY: Final[tuple[State, ...]] = ("briefed", "accepted", "failed")
"""What becomes of no transfer whose caller has gone."""

log = logs.logger(__name__)


class Transfer(Struct, frozen=True, kw_only=True):
    """A transfer as its row has it; ``caller_id`` is our number, which the person sees, ``room`` where both meet."""

    id: UUID
    call_id: UUID
    epoch: int
    order: Any
    state: State
    outcome: str | None
    operator_call: str | None
    tries: int
    caller_id: str
    created_at: datetime

    @property
    def wanted(self) -> TransferOrder:
        """To whom, and how."""
        return msgspec.convert(self.order, TransferOrder)

    @property
    def room(self) -> str:
        """The name of the conference in which both meet."""
        return self.id.hex


_ROW: Final = (
    "select t.id, t.call_id, t.epoch, t.wanted as order, t.state, t.outcome, t.operator_call, t.tries, t.created_at,"
    " case when c.direction = 'inbound' then c.to_number else c.from_number end as caller_id"
    " from transfers t join calls c on c.id = t.call_id where "
)


def is_allowed(settings: ProjectSettings, to: str) -> bool:
    """Whether the project lets callers be connected there: named whole, or by a beginning that ends in a star."""
    allowed = settings.transfers.allowed_destinations
    return not allowed or any(to.startswith(known[:-1]) if known.endswith("*") else to == known for known in allowed)


def url(plane: Plane, provider: str, transfer_id: UUID, what: str = "transfer") -> str:
    """What the carrier asks about a caller who is to be connected, or about the person."""
    return f"{plane.config.public_url}/webhooks/{provider}/voice/{what}/{transfer_id.hex}"


async def find(connection: Connection, transfer_id: UUID, *, is_locked: bool = False) -> Transfer | None:
    """The transfer of this id."""
    return await _one(connection, "t.id = %s for update of t" if is_locked else "t.id = %s", transfer_id)


async def of_epoch(connection: Connection, call: Ledger, epoch: int) -> Transfer | None:
    """The last transfer of a locked call that took its caller from this epoch."""
    return await _one(
        connection,
        "t.call_id = %s and t.epoch = %s order by t.created_at desc limit 1",
        ids.parsed(ids.CALL, call.call_id),
        epoch,
    )


async def returned(connection: Connection, transfer: Transfer) -> None:
    """The caller is with the agent again; the leg to the person, if there is one, is still to be let go."""
    await connection.execute(
        "update transfers set state = 'returned', due_at = case when operator_call <> '' then now() end where id = %s",
        (transfer.id,),
    )


async def fail(plane: Plane, transfer_id: UUID, outcome: Outcome, *, is_here: bool = False) -> None:
    """Nobody takes the call: stated once, and the carrier is sent to bring the caller back.

    ``is_here``: it asks about the caller at this moment, so it is sent only if it does not take our answer.
    """
    due_in_s = AGAIN_S if is_here else 0.0
    await advance(plane, transfer_id, PENDING, "failed", [TransferHasFailed], outcome=outcome, due_in_s=due_in_s)
    plane.transfers_due.set()


async def advance(
    plane: Plane,
    transfer_id: UUID,
    states: tuple[State, ...],
    state: State,
    facts: list[Any],
    *,
    outcome: Outcome | None = None,
    operator_call: str | None = None,
    due_in_s: float = LOOK_S,
) -> Transfer | None:
    """Moves a transfer on and states the facts, once; None when it is in none of ``states``, or its caller has gone.

    ``operator_call``: the carrier's id of the leg to the person, as far as the carrier has just told it.
    """
    async with plane.database.pool.connection() as connection, connection.transaction():
        found = await find(connection, transfer_id)
        if found is None:
            return None
        call_id = CallId(ids.written(ids.CALL, found.call_id))
        call = (await ledger.lock(connection, [call_id]))[call_id]
        found = await find(connection, transfer_id, is_locked=True)
        if found is None or found.state not in states or (state in _LIVE_ONLY and call.standing.is_final):
            return None
        moved = msgspec.structs.replace(
            found, state=state, outcome=outcome, operator_call=operator_call or found.operator_call
        )
        await connection.execute(
            "update transfers set state = %s, outcome = %s, operator_call = %s, tries = 0,"
            " due_at = case when %s <> 'joined' then now() + %s end where id = %s",
            (state, outcome, moved.operator_call, state, timedelta(seconds=due_in_s), transfer_id),
        )
        said: dict[str, Any] = {"to": found.wanted.to}
        if outcome is not None:
            said["outcome"] = outcome
        appended = await stated(connection, call, transfer_id, [(kind, said) for kind in facts])
    await news.publish(plane.bus, appended)
    log.info("transfer.moved", call_id=call_id, state=state, outcome=outcome)
    return moved


async def stated(
    connection: Connection, call: Ledger, transfer_id: UUID, facts: list[tuple[Any, dict[str, Any]]]
) -> Appended:
    """Stores facts about a transfer of a locked call, each with what it says beside the transfer's id."""
    header = {"call_id": call.call_id, "project_id": call.project_id, "epoch": 0, "seq": UNNUMBERED}
    events: list[CallEvent] = [
        kind(**header, at=datetime.now(UTC), transfer_id=transfer_id.hex, **said) for kind, said in facts
    ]
    return await record(connection, [own(event) for event in events])  # type: ignore[arg-type]


async def _one(connection: Connection, condition: str, *parameters: object) -> Transfer | None:
    async with connection.cursor(row_factory=class_row(Transfer)) as cursor:
        await cursor.execute((_ROW + condition).encode(), parameters)
        return await cursor.fetchone()
