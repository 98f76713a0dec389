"""Connecting callers to persons: workers' wishes are stored, and the carrier is had to do one step after another.

Each step is stored before the carrier is asked for it, so any replica goes on where another one died.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import msgspec
from psycopg.types.json import Jsonb

from turncall_control.calls import connecting, ledger
from turncall_control.calls.ledger import Connection, Ledger
from turncall_control.calls.plans import REDIRECTED, resume_url
from turncall_control.calls.transfers import AGAIN_S, LOOK_S, PENDING, Transfer, fail, find, is_allowed, url
from turncall_control.carriers import browser, whatsapp
from turncall_control.carriers.base import CallOrder, Carrier, CarrierError, Gone, NotInProgress
from turncall_control.plane import Plane
from turncall_control.settings import ProjectSettings
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, TransferTool
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, TransferAsked
from turncall_proto.ids import CallId
from turncall_runtime import logs

TRIES: Final = 5
BRIEFING_S: Final = 90.0
"""For a person to hear the briefing and to take the call, beside the ringing."""
AT_ONCE: Final = 20

log = logs.logger(__name__)


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
        try:
            carrier = await plane.accounts.holding(call.project_id, call.provider, call.account)
            if carrier is None:
                log.error("transfer.impossible", call_id=call.call_id, provider=call.provider)
            elif call.standing.is_final or call.provider_call_id is None or transfer.state == "returned":
                await self._let_go(carrier, transfer)
            else:
                await self._step(carrier, call, call.provider_call_id, transfer)
        except CarrierError as error:
            log.warning("transfer.hindered", call_id=call.call_id, state=transfer.state, error=str(error))
            if transfer.state == "ringing" and transfer.operator_call is None:
                await fail(plane, transfer.id, "failed")

    async def _step(self, carrier: Carrier, call: Ledger, provider_call_id: str, transfer: Transfer) -> None:
        plane, is_warm = self._plane, transfer.wanted.mode == "warm"
        if transfer.state == "asked" and transfer.tries > TRIES:
            await fail(plane, transfer.id, "no_answer")
        elif transfer.state == "asked":
            await self._fetch(carrier, transfer, provider_call_id, url(plane, call.provider, transfer.id))
        elif transfer.state == "failed":
            back = f"{resume_url(plane, call.provider, call.call_id, transfer.epoch)}?{REDIRECTED}=1"
            await self._fetch(carrier, transfer, provider_call_id, back)
        elif transfer.state == "ringing" and is_warm and transfer.operator_call is None:
            await self._ring(carrier, call, transfer)
        elif is_warm:
            await self._look_after_person(carrier, transfer)
        else:
            await self._look_at_connection(carrier, transfer, provider_call_id)

    async def _fetch(self, carrier: Carrier, transfer: Transfer, provider_call_id: str, url: str) -> None:
        """Has the carrier ask about the caller; one who is gone takes the transfer along."""
        try:
            await carrier.redirect_call(provider_call_id, url)
        except (Gone, NotInProgress):
            await self._let_go(carrier, transfer)

    async def _ring(self, carrier: Carrier, call: Ledger, transfer: Transfer) -> None:
        """Calls the person; that it was tried is stored first, so that nobody is called twice."""
        plane, order = self._plane, transfer.wanted
        async with plane.database.pool.connection() as connection:
            cursor = await connection.execute(
                "update transfers set operator_call = '', due_at = now() + %s where id = %s and operator_call is null",
                (timedelta(seconds=LOOK_S), transfer.id),
            )
        if cursor.rowcount != 1:
            return
        asks = url(plane, call.provider, transfer.id, "operator")
        operator = await carrier.place_call(
            CallOrder(
                from_number=transfer.caller_id,
                to_number=order.to,
                answer_url=asks,
                fallback_url=asks,
                status_url=url(plane, call.provider, transfer.id, "operator-status"),
                ring_timeout_s=order.ring_s,
                detects="no" if order.accept_key else "at_once",
            )
        )
        async with plane.database.pool.connection() as connection:
            await connection.execute("update transfers set operator_call = %s where id = %s", (operator, transfer.id))

    async def _look_after_person(self, carrier: Carrier, transfer: Transfer) -> None:
        """How the leg to the person stands, of which the carrier may have told while nobody listened."""
        plane, leg = self._plane, transfer.operator_call
        if not leg:
            # The carrier was asked for it, or was about to be, by a replica that did not live to hear of it.
            await fail(plane, transfer.id, "failed")
            return
        try:
            status = (await carrier.fetch_call(leg)).status
        except Gone:
            status = "failed"
        if transfer.state == "accepted" and status == "in-progress" and leg in await carrier.those_in(transfer.room):
            await connecting.joined(plane, transfer.id)
        elif status in connecting.NOT_REACHED:
            await fail(plane, transfer.id, connecting.outcome_of(status))
        elif datetime.now(UTC) - transfer.created_at > timedelta(seconds=transfer.wanted.ring_s + BRIEFING_S):
            await fail(plane, transfer.id, "no_answer")
        else:
            await self._look_again(transfer)

    async def _look_at_connection(self, carrier: Carrier, transfer: Transfer, provider_call_id: str) -> None:
        """Whether the caller and the person talk, though the carrier's word of it was lost."""
        legs = await carrier.legs_of(provider_call_id)
        if any(leg.status == "in-progress" for leg in legs):
            await connecting.connected(self._plane, transfer.id)
        elif any(leg.status in ("queued", "ringing") for leg in legs):
            await self._look_again(transfer)
        else:
            await fail(self._plane, transfer.id, "no_answer")

    async def _let_go(self, carrier: Carrier, transfer: Transfer) -> None:
        """Nobody waits for the person any more, whom the carrier may be calling, or reading the briefing to."""
        if transfer.operator_call and transfer.state != "joined":
            with suppress(Gone, NotInProgress):
                await carrier.end_call(transfer.operator_call)
        async with self._plane.database.pool.connection() as connection:
            await connection.execute("update transfers set due_at = null where id = %s", (transfer.id,))

    async def _look_again(self, transfer: Transfer) -> None:
        async with self._plane.database.pool.connection() as connection:
            await connection.execute(
                "update transfers set due_at = now() + %s where id = %s and state = any(%s)",
                (timedelta(seconds=LOOK_S), transfer.id, list(PENDING)),
            )


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
    if call.provider_call_id is None or call.provider in (browser.PROVIDER, whatsapp.PROVIDER):
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
    found = [await find(connection, transfer_id) for transfer_id in taken]
    return [transfer for transfer in found if transfer is not None]
