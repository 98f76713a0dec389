"""Connecting a caller to a person, and bringing them back when nobody takes the call.

Each step is stored before the carrier is asked for it, and every question of the carrier is answered from the row: so
any replica goes on, and a repeat changes nothing. A transfer is ``asked`` until the carrier has taken the caller off
the agent's stream, ``ringing`` until the person picks up, ``briefed`` until they take over, ``joined`` then; or
``failed`` until the caller is back with the agent (``returned``).
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from turncall_control.calls import ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.plans import REDIRECTED, resume_url
from turncall_control.calls.projector import record
from turncall_control.carriers import browser
from turncall_control.carriers.accounts import Proof
from turncall_control.carriers.base import CallOrder, Carrier, CarrierError, Documents, Gone, NotInProgress
from turncall_control.plane import Plane
from turncall_control.settings import ProjectSettings
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, TransferTool
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, TransferAsked, TransferOrder
from turncall_proto.events import CallEvent, CallTransferred, TransferAnswered, TransferHasFailed
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime import logs

AGAIN_S: Final = 5.0
"""After which a carrier that did not do what it was asked is asked again."""
TRIES: Final = 5
BRIEFING_S: Final = 90.0
"""For a person to hear the briefing and to take the call, beside the ringing."""
AT_ONCE: Final = 20

Outcome = Literal["busy", "no_answer", "declined", "machine", "failed"]
PENDING: Final = ("asked", "ringing", "briefed")

log = logs.logger(__name__)


class Transfer(Struct, frozen=True, kw_only=True):
    """A transfer as its row has it; ``caller_id`` is our number, which the person sees."""

    id: UUID
    call_id: UUID
    epoch: int
    order: Any
    state: str
    outcome: str | None
    operator_call: str | None
    tries: int
    caller_id: str

    @property
    def wanted(self) -> TransferOrder:
        """To whom, and how."""
        return msgspec.convert(self.order, TransferOrder)


_ROW: Final = (
    "select t.id, t.call_id, t.epoch, t.wanted as order, t.state, t.outcome, t.operator_call, t.tries,"
    " case when c.direction = 'inbound' then c.to_number else c.from_number end as caller_id"
    " from transfers t join calls c on c.id = t.call_id where "
)


def is_allowed(settings: ProjectSettings, to: str) -> bool:
    """Whether the project lets callers be connected there: named whole, or by a beginning that ends in a star."""
    allowed = settings.transfers.allowed_destinations
    return not allowed or any(to.startswith(known[:-1]) if known.endswith("*") else to == known for known in allowed)


class Transfers:
    """Takes workers' wishes, and sees to it that each transfer comes to an end, also across restarts."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def answer(self, data: bytes) -> bytes:
        """Serves the act ``transfer``: it is stored when ``is_taken`` comes back. A repeat is answered alike."""
        asked = decode(data, TransferAsked)
        if asked.deadline < datetime.now(UTC):
            return encode(ActReply(is_taken=False, detail="late"))
        settings = await self._plane.settings.of(asked.project_id)
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            call = (await ledger.lock(connection, [asked.call_id])).get(asked.call_id)
            if call is None or call.project_id != asked.project_id:
                return encode(ActReply(is_taken=False, detail="there is no such call"))
            if not await _is_stored(connection, asked):
                refusal = await _refusal(connection, call, asked, settings)
                if refusal:
                    log.warning("transfer.refused", call_id=call.call_id, why=refusal)
                    return encode(ActReply(is_taken=False, detail=refusal))
                await _store(connection, call, asked)
        self._plane.transfers_due.set()
        return encode(ActReply(is_taken=True))

    async def wait(self, timeout_s: float) -> None:
        """Returns when something is due on this replica, or after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._plane.transfers_due.wait()
        except TimeoutError:
            return
        finally:
            self._plane.transfers_due.clear()

    async def attend(self) -> None:
        """Does what is due. Replicas may do this at once: each takes its own transfers."""
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            due = await _take_due(connection)
        async with asyncio.TaskGroup() as group:
            for transfer in due:
                group.create_task(self._go_on(transfer))

    async def _go_on(self, transfer: Transfer) -> None:
        plane = self._plane
        async with plane.database.pool.connection() as connection:
            call_id = CallId(ids.written(ids.CALL, transfer.call_id))
            async with connection.transaction():
                call = (await ledger.lock(connection, [call_id]))[call_id]
        if call.standing.is_final or call.provider_call_id is None:
            await self._forget(transfer)
            return
        try:
            carrier = await plane.accounts.holding(call.project_id, call.provider, call.account)
            if carrier is None:
                log.error("transfer.impossible", call_id=call.call_id, provider=call.provider)
                return
            await self._step(carrier, call, call.provider_call_id, transfer)
        except (Gone, NotInProgress):
            await self._forget(transfer)
        except CarrierError as error:
            log.warning("transfer.hindered", call_id=call.call_id, state=transfer.state, error=str(error))
            if transfer.state == "ringing":
                await fail(plane, transfer.id, "failed")

    async def _step(self, carrier: Carrier, call: Ledger, provider_call_id: str, transfer: Transfer) -> None:
        plane = self._plane
        if transfer.state in PENDING and transfer.tries > TRIES:
            await fail(plane, transfer.id, "no_answer")
        elif transfer.state == "asked":
            await carrier.redirect_call(provider_call_id, _url(plane, call.provider, "transfer", transfer.id))
        elif transfer.state == "ringing" and transfer.operator_call is None and transfer.wanted.mode == "warm":
            await self._ring(carrier, call, transfer)
        elif transfer.state in PENDING:
            await fail(plane, transfer.id, "no_answer")
        elif transfer.state == "failed":
            url = resume_url(plane, call.provider, call.call_id, transfer.epoch)
            await carrier.redirect_call(provider_call_id, f"{url}?{REDIRECTED}=1")

    async def _ring(self, carrier: Carrier, call: Ledger, transfer: Transfer) -> None:
        """Calls the person; that it was tried is stored first, so that nobody is called twice."""
        plane, order = self._plane, transfer.wanted
        async with plane.database.pool.connection() as connection:
            cursor = await connection.execute(
                "update transfers set operator_call = '', due_at = now() + %s where id = %s and operator_call is null",
                (timedelta(seconds=order.ring_s + BRIEFING_S), transfer.id),
            )
        if cursor.rowcount != 1:
            return
        operator = await carrier.place_call(
            CallOrder(
                from_number=transfer.caller_id,
                to_number=order.to,
                answer_url=_url(plane, call.provider, "operator", transfer.id),
                fallback_url=_url(plane, call.provider, "operator", transfer.id),
                status_url=_url(plane, call.provider, "operator-status", transfer.id),
                ring_timeout_s=order.ring_s,
                detects="no" if order.accept_key else "at_once",
            )
        )
        async with plane.database.pool.connection() as connection:
            await connection.execute("update transfers set operator_call = %s where id = %s", (operator, transfer.id))

    async def _forget(self, transfer: Transfer) -> None:
        async with self._plane.database.pool.connection() as connection:
            await connection.execute("update transfers set due_at = null where id = %s", (transfer.id,))


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
        transfer = await _find(connection, "t.id = %s for update of t", transfer_id)
        if transfer is None or transfer.state not in PENDING:
            return None
        order = transfer.wanted
        if transfer.state == "asked":
            due_s = 0.0 if order.mode == "warm" else order.ring_s + BRIEFING_S
            await connection.execute(
                "update transfers set state = 'ringing', tries = 0, due_at = now() + %s where id = %s",
                (timedelta(seconds=due_s), transfer_id),
            )
    plane.transfers_due.set()
    after = _url(plane, provider, "transferred", transfer_id)
    if order.mode == "warm":
        return documents.wait_in_room(room=transfer_id.hex, action_url=after)
    return documents.connect_to(
        to=order.to,
        caller_id=transfer.caller_id,
        ring_s=order.ring_s,
        action_url=after,
        status_url=_url(plane, provider, "operator-status", transfer_id),
    )


async def picked_up(plane: Plane, documents: Documents, provider: str, transfer_id: UUID, answered_by: str) -> str:
    """What a person hears who picked up a warm transfer."""
    if answered_by.startswith(("machine", "fax")):
        await fail(plane, transfer_id, "machine")
        return documents.hang_up()
    transfer = await _advance(plane, transfer_id, ("ringing",), "briefed", [TransferAnswered])
    if transfer is None:
        return documents.hang_up()
    order = transfer.wanted
    if order.accept_key:
        url = _url(plane, provider, "accept", transfer_id)
        return documents.ask_for_key(sentence=order.briefing, key=order.accept_key, action_url=url)
    if await _advance(plane, transfer_id, ("briefed",), "joined", [CallTransferred]) is None:
        return documents.hang_up()
    return documents.join_room(sentence=order.briefing, room=transfer_id.hex)


async def key_pressed(plane: Plane, documents: Documents, transfer_id: UUID, digits: str) -> str:
    """What a person hears who pressed a key, or none."""
    async with plane.database.pool.connection() as connection:
        found = await _find(connection, "t.id = %s", transfer_id)
    if found is None or digits != found.wanted.accept_key:
        await fail(plane, transfer_id, "declined")
        return documents.hang_up()
    if await _advance(plane, transfer_id, ("briefed", "joined"), "joined", [CallTransferred]) is None:
        return documents.hang_up()
    return documents.join_room(sentence="", room=transfer_id.hex)


async def leg_said(plane: Plane, transfer_id: UUID, status: str, sip_code: int | None) -> None:
    """What the carrier says of the leg to the person."""
    async with plane.database.pool.connection() as connection:
        found = await _find(connection, "t.id = %s", transfer_id)
    if found is None:
        return
    if status == "in-progress" and found.wanted.mode == "cold":
        await _advance(plane, transfer_id, ("ringing",), "joined", [TransferAnswered, CallTransferred])
    elif found.wanted.mode == "warm" and status in ("busy", "no-answer", "failed", "canceled", "completed"):
        await fail(plane, transfer_id, outcome_of(status, sip_code))


def outcome_of(status: str, sip_code: int | None = None) -> Outcome:
    """The carrier's word for a leg that did not come about, in ours; one that was completed was hung up on."""
    if status == "busy":
        return "declined" if sip_code == 603 else "busy"
    known: dict[str, Outcome] = {"no-answer": "no_answer", "canceled": "no_answer", "completed": "declined"}
    return known.get(status, "failed")


async def connection_ended(plane: Plane, transfer_id: UUID, status: str) -> bool:
    """Whether the caller was connected, now that it is over; if not, they are on their way back to the agent."""
    if status in ("completed", "answered"):
        joined = await _advance(plane, transfer_id, ("ringing",), "joined", [TransferAnswered, CallTransferred])
        async with plane.database.pool.connection() as connection:
            found = joined or await _find(connection, "t.id = %s", transfer_id)
            if found is not None and found.state == "joined":
                return True
    await fail(plane, transfer_id, outcome_of(status), is_here=True)
    return False


async def fail(plane: Plane, transfer_id: UUID, outcome: Outcome, *, is_here: bool = False) -> None:
    """Nobody takes the call: stated once, and the carrier is sent to bring the caller back.

    ``is_here``: it asks about the caller at this moment, so it is sent only if it does not take our answer.
    """
    due_in_s = AGAIN_S if is_here else 0.0
    await _advance(plane, transfer_id, PENDING, "failed", [TransferHasFailed], outcome=outcome, due_in_s=due_in_s)
    plane.transfers_due.set()


async def of_epoch(connection: Connection, call: Ledger, epoch: int) -> Transfer | None:
    """The last transfer of a locked call that took its caller from this epoch."""
    return await _find(
        connection,
        "t.call_id = %s and t.epoch = %s order by t.created_at desc limit 1",
        ids.parsed(ids.CALL, call.call_id),
        epoch,
    )


async def returned(connection: Connection, transfer: Transfer) -> None:
    """The caller is with the agent again."""
    await connection.execute("update transfers set state = 'returned', due_at = null where id = %s", (transfer.id,))


async def _advance(
    plane: Plane,
    transfer_id: UUID,
    states: tuple[str, ...],
    state: str,
    facts: list[Any],
    *,
    outcome: Outcome | None = None,
    due_in_s: float = 0.0,
) -> Transfer | None:
    """Moves a transfer on and states the facts, once; None when it is in none of ``states``."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        found = await _find(connection, "t.id = %s", transfer_id)
        if found is None:
            return None
        call_id = CallId(ids.written(ids.CALL, found.call_id))
        call = (await ledger.lock(connection, [call_id]))[call_id]
        found = await _find(connection, "t.id = %s for update of t", transfer_id)
        if found is None or found.state not in states:
            return None
        moved = msgspec.structs.replace(found, state=state, outcome=outcome)
        if found.state == state:
            return moved
        await connection.execute(
            "update transfers set state = %s, outcome = %s, tries = 0,"
            " due_at = case when %s = 'failed' then now() + %s when %s = 'joined' then null else due_at end"
            " where id = %s",
            (state, outcome, state, timedelta(seconds=due_in_s), state, transfer_id),
        )
        header = {"call_id": call_id, "project_id": call.project_id, "epoch": 0, "seq": UNNUMBERED}
        said: dict[str, Any] = {"transfer_id": transfer_id.hex, "to": found.wanted.to}
        if outcome is not None:
            said["outcome"] = outcome
        stated: list[CallEvent] = [kind(**header, at=datetime.now(UTC), **said) for kind in facts]
        appended: Appended = await record(connection, [own(fact) for fact in stated])  # type: ignore[arg-type]
    await news.publish(plane.bus, appended)
    log.info("transfer.moved", call_id=call_id, state=state, outcome=outcome)
    return moved


async def _find(connection: Connection, condition: str, *parameters: object) -> Transfer | None:
    async with connection.cursor(row_factory=class_row(Transfer)) as cursor:
        await cursor.execute((_ROW + condition).encode(), parameters)
        return await cursor.fetchone()


async def _is_stored(connection: Connection, asked: TransferAsked) -> bool:
    cursor = await connection.execute("select from transfers where act_id = %s", (asked.act_id,))
    return await cursor.fetchone() is not None


async def _refusal(connection: Connection, call: Ledger, asked: TransferAsked, settings: ProjectSettings) -> str:
    """Why the caller may not be connected; empty when they may."""
    standing = call.standing
    if standing.is_final or standing.end_intended:
        return "the call is ending"
    if asked.epoch != standing.epoch or asked.epoch <= standing.left_epoch:
        return f"the call has left epoch {asked.epoch}"
    if call.provider_call_id is None or call.provider == browser.PROVIDER:
        return "the call has no carrier"
    if not is_allowed(settings, asked.order.to):
        return "the project does not allow that destination"
    if asked.tool and not await _names(connection, call, asked):
        return "the agent's tool does not name that destination"
    return ""


async def _names(connection: Connection, call: Ledger, asked: TransferAsked) -> bool:
    """Whether the tool by which the model wished it names the destination, in the definition that serves the call."""
    cursor = await connection.execute(
        "select coalesce(c.inline_agent, v.config) from calls c left join agent_versions v on v.id = c.version_id"
        " where c.id = %s",
        (ids.parsed(ids.CALL, call.call_id),),
    )
    (config,) = await cursor.fetchone() or (None,)
    tools = msgspec.convert(config, AgentSpec).tools if config is not None else ()
    return any(
        isinstance(tool, TransferTool)
        and tool.name == asked.tool
        and any(known.to == asked.order.to for known in tool.destinations)
        for tool in tools
    )


async def _store(connection: Connection, call: Ledger, asked: TransferAsked) -> None:
    """The call is taken away from the agent of this epoch."""
    row = ids.parsed(ids.CALL, call.call_id)
    await connection.execute(
        "insert into transfers (id, project_id, call_id, epoch, act_id, wanted, state, due_at)"
        " values (%s, %s, %s, %s, %s, %s, 'asked', now())",
        (
            uuid4(),
            ids.parsed(ids.PROJECT, call.project_id),
            row,
            asked.epoch,
            asked.act_id,
            Jsonb(msgspec.to_builtins(asked.order)),
        ),
    )
    await connection.execute("update calls set left_epoch = greatest(left_epoch, %s) where id = %s", (asked.epoch, row))


async def _take_due(connection: Connection) -> list[Transfer]:
    cursor = await connection.execute(
        "with due as (select id from transfers where due_at <= now() order by due_at limit %s for update skip locked)"
        " update transfers t set tries = tries + 1, due_at = now() + %s from due where t.id = due.id returning t.id",
        (AT_ONCE, timedelta(seconds=AGAIN_S)),
    )
    taken = [row[0] for row in await cursor.fetchall()]
    found = [await _find(connection, "t.id = %s", transfer_id) for transfer_id in taken]
    return [transfer for transfer in found if transfer is not None]


def url(plane: Plane, provider: str, transfer_id: UUID) -> str:
    """What the carrier asks about a caller who is to be connected."""
    return _url(plane, provider, "transfer", transfer_id)


def _url(plane: Plane, provider: str, what: str, transfer_id: UUID) -> str:
    return f"{plane.config.public_url}/webhooks/{provider}/voice/{what}/{transfer_id.hex}"
