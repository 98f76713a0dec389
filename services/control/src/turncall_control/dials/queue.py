"""Which call is dialled next: by account, at its pace, the projects of an account taking turns.

Whoever locks the row of an account's pace dials for it; the intent to ask is committed before the carrier is asked, so
that whoever comes after a crash knows that it may have been asked, and asks what became of it instead of asking again.
"""

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final, Literal, LiteralString
from uuid import UUID

from msgspec import Struct
from psycopg.rows import class_row

from turncall_control.calls import concurrency, ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.projector import record
from turncall_control.carriers.base import CarrierError
from turncall_control.dials import policy
from turncall_control.dials.policy import NoTimeInCommon
from turncall_control.donotcall import repository as donotcall
from turncall_control.errors import NotFound
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.call import EndedReason
from turncall_proto.events import DialFailed
from turncall_proto.ids import CallId
from turncall_proto.placement import Priority

CLAIM_EVERY_S: Final = 0.25
ASKED_WITHIN_S: Final = 15.0
"""Whoever was about to ask has asked by then, and has heard or given up: the carrier's answer has 5 s."""
NO_ROOM_S: Final = 2.0
"""How long a call waits for which a limit of concurrent calls leaves no room."""
DROP_AT_ONCE: Final = 100
_PRIORITIES: Final[tuple[Priority, ...]] = ("outbound", "batch")
"""Of a dial's ``priority``, which shares of the workers it may use."""

_NEXT: Final[LiteralString] = """
    select d.call_id, c.to_number, d.zone, d.priority, c.mocks is not null as is_test
    from (select distinct project_id from dials
          where account = %(account)s and state = 'queued' and due_at <= now()) p
    cross join lateral (select max(asked_at) as last_at from dials where project_id = p.project_id) served
    cross join lateral (
        select q.call_id, q.zone, q.priority, row_number() over (order by q.priority, q.due_at, q.call_id) as turn
        from dials q join calls qc on qc.id = q.call_id
        where q.account = %(account)s and q.project_id = p.project_id and q.state = 'queued' and q.due_at <= now()
            -- What became of one call is looked up by its two numbers: another between them has to wait for that.
            and not exists (select from dials o join calls oc on oc.id = o.call_id where o.state = 'asked'
                and oc.provider_call_id is null and o.account = q.account
                and oc.from_number = qc.from_number and oc.to_number = qc.to_number)
        order by q.priority, q.due_at, q.call_id limit %(limit)s) d
    join calls c on c.id = d.call_id
    order by d.priority, d.turn, served.last_at nulls first, d.call_id limit %(limit)s
"""


class Dial(Struct, frozen=True, kw_only=True):
    """A call that is to be asked for at this moment; ``tries`` counts this one."""

    call: Ledger
    from_number: str
    to_number: str
    ring_timeout_s: int
    tries: int
    detects: Literal["no", "at_once", "after_greeting"]


class _Next(Struct, frozen=True, kw_only=True):
    """A queued dial whose turn it is. ``is_test``: it reaches nobody, whomever the project may call."""

    call_id: UUID
    to_number: str
    zone: str | None
    priority: int
    is_test: bool


async def claim(plane: Plane, rate_per_s: float) -> list[Dial]:
    """Takes up the next calls of every account that may be asked for some, and commits that they are asked for.

    Calls that may not be dialled, or not at this moment, are failed or put off on the way.
    """
    dials: list[Dial] = []
    async with plane.database.pool.connection() as connection, connection.transaction():
        appended = await _drop_cancelled(connection)
        accounts = await _free_accounts(connection)
        waiting = await _waiting_for_an_answer(connection) if accounts else 0
        for account in accounts:
            asked: list[Dial] = []
            for found in await _next(connection, account, ceil(rate_per_s * CLAIM_EVERY_S)):
                # A worker must have room when the call is answered: each that rings may be the next to need it.
                if plane.workers.room("calls", _PRIORITIES[found.priority]) <= waiting + len(dials) + len(asked):
                    break
                stated, dial = await _take_up(connection, plane, found)
                appended = appended.join(stated)
                asked += [dial] if dial else []
            await _pace(connection, account, len(asked), rate_per_s)
            dials += asked
    await news.publish(plane.bus, appended)
    return dials


async def fail(
    connection: Connection, call: Ledger, reason: EndedReason, detail: str, refused: CarrierError | None = None
) -> Appended:
    """Ends a locked call that was not placed, and is not going to be; ``refused`` is the carrier's word for it."""
    await connection.execute(
        "update dials set state = 'over' where call_id = %s", (ids.parsed(ids.CALL, call.call_id),)
    )
    failed = DialFailed(
        call_id=call.call_id,
        project_id=call.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=datetime.now(UTC),
        reason=reason,
        detail=detail,
        carrier_code=refused.code if refused else None,
        refusal=refused.refusal if refused else None,
    )
    return await record(connection, [own(failed)])


async def put_off(connection: Connection, call_id: CallId, due_at: datetime) -> None:
    """Has a dial wait, from the queue or after the carrier refused it for the moment."""
    await connection.execute(
        "update dials set state = 'queued', due_at = %s where call_id = %s and state <> 'over'",
        (due_at, ids.parsed(ids.CALL, call_id)),
    )


async def _drop_cancelled(connection: Connection) -> Appended:
    """Ends calls whose end was asked for before they were dialled."""
    cursor = await connection.execute(
        "select c.id from calls c join dials d on d.call_id = c.id"
        " where c.hang_up_due is not null and d.state = 'queued' limit %s",
        (DROP_AT_ONCE,),
    )
    cancelled = [CallId(ids.written(ids.CALL, call)) for (call,) in await cursor.fetchall()]
    appended = Appended(ledgers={}, facts={})
    for call in (await ledger.lock(connection, cancelled)).values() if cancelled else ():
        appended = appended.join(await fail(connection, call, EndedReason.CANCELED, "its end was asked for"))
    return appended


async def _free_accounts(connection: Connection) -> list[str]:
    """The accounts with calls that are due, whose pace allows one, and for which nobody else dials at this moment."""
    await connection.execute(
        "insert into dial_paces (account) select distinct account from dials"
        " where state = 'queued' and due_at <= now() on conflict do nothing"
    )
    cursor = await connection.execute(
        "select account from dial_paces p where next_at <= now() and exists (select from dials d"
        " where d.account = p.account and d.state = 'queued' and d.due_at <= now()) for update skip locked"
    )
    return [account for (account,) in await cursor.fetchall()]


async def _waiting_for_an_answer(connection: Connection) -> int:
    """How many calls are on their way to somebody."""
    cursor = await connection.execute(
        "select count(*) from dials d join calls c on c.id = d.call_id"
        " where d.state = 'asked' and c.over_at is null and c.answered_at is null"
    )
    counted = await cursor.fetchone()
    return counted[0] if counted else 0


async def _next(connection: Connection, account: str, limit: int) -> list[_Next]:
    async with connection.cursor(row_factory=class_row(_Next)) as cursor:
        await cursor.execute(_NEXT, {"account": account, "limit": limit})
        return await cursor.fetchall()


async def _take_up(connection: Connection, plane: Plane, found: _Next) -> tuple[Appended, Dial | None]:
    call_id = CallId(ids.written(ids.CALL, found.call_id))
    call = (await ledger.lock(connection, [call_id]))[call_id]
    nothing = Appended(ledgers={call_id: call}, facts={})
    if call.standing.is_final or call.standing.end_intended:
        return await fail(connection, call, EndedReason.CANCELED, "its end was asked for"), None
    verdict = await _verdict(connection, plane, call, found)
    if isinstance(verdict, str):
        return await fail(connection, call, EndedReason.BLOCKED, verdict), None
    now = datetime.now(UTC)
    if verdict > now:
        await put_off(connection, call_id, verdict)
        return nothing, None
    if await concurrency.take(connection, plane.redis, call_id) is not None:
        await put_off(connection, call_id, now + timedelta(seconds=NO_ROOM_S))
        return nothing, None
    cursor = await connection.execute(
        "update dials d set state = 'asked', asked_at = now(), look_at = now() + %s, tries = tries + 1 from calls c"
        " where d.call_id = %s and d.state = 'queued' and c.id = d.call_id"
        " and not exists (select from dials o join calls oc on oc.id = o.call_id where o.state = 'asked'"
        "  and oc.provider_call_id is null and o.account = d.account"
        "  and oc.from_number = c.from_number and oc.to_number = c.to_number)"
        " returning c.from_number, c.to_number, d.ring_timeout_s, d.tries, case when not d.is_detecting then 'no'"
        "  when (select config->'voicemail'->>'action' from agent_versions v where v.id = c.version_id)"
        "   = 'leave_message' then 'after_greeting' else 'at_once' end",
        (timedelta(seconds=ASKED_WITHIN_S), found.call_id),
    )
    row = await cursor.fetchone()
    if row is None:
        return nothing, None
    from_number, to_number, ring_timeout_s, tries, detects = row
    dial = Dial(
        call=call,
        from_number=from_number,
        to_number=to_number,
        ring_timeout_s=ring_timeout_s,
        tries=tries,
        detects=detects,
    )
    return nothing, dial


async def _verdict(connection: Connection, plane: Plane, call: Ledger, found: _Next) -> datetime | str:
    """From when on the call may be dialled, or why it may not be; settings may have changed since it was taken on."""
    now = datetime.now(UTC)
    try:
        rules = (await plane.settings.of(call.project_id)).outbound
    except NotFound:
        return "the project is deleted"
    if found.is_test:
        return now
    if await donotcall.holds(connection, call.project_id, found.to_number):
        return "the number is on the project's do-not-call list"
    if not policy.is_allowed(rules, found.to_number):
        return "the project does not call numbers that begin like this one"
    if rules.calling_hours is None:
        return now
    zone = found.zone and policy.zone_named(found.zone)
    zones = (zone,) if zone else policy.zones_of(found.to_number)
    if not zones:
        return "the project has calling hours, and it is not known where the number is"
    try:
        return policy.opens_at(rules.calling_hours, zones, now)
    except NoTimeInCommon:
        return "the project's calling hours fall together nowhere in the number's time zones"


async def _pace(connection: Connection, account: str, asked: int, rate_per_s: float) -> None:
    await connection.execute(
        "update dial_paces set next_at = now() + %s where account = %s",
        (timedelta(seconds=asked / rate_per_s), account),
    )
