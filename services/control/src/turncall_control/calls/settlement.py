"""The end of a call's record: when its last word is said, and when its messages may be forgotten.

A call is *concluded* when `CallEnded` is stored, once: at once when the carrier and every worker have spoken, at most
`LAST_WORD_WITHIN_S` after the first final word otherwise, and with facts known to be missing only after
`HOLES_CLOSE_WITHIN_S`. It is *settled* when nothing of it is awaited any more: its subjects are purged and its workers
may delete their spools.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from turncall_bus.bus import Bus, BusError
from turncall_control.calls import ledger, legs, moving, news, salvage
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.state import Standing, duration_ms, why_ended
from turncall_control.db.engine import Pool
from turncall_control.jobs import orders
from turncall_proto import ids, subjects
from turncall_proto.call import CallState
from turncall_proto.events import CallEnded
from turncall_proto.ids import CallId
from turncall_runtime import logs

LAST_WORD_WITHIN_S: Final = 5.0
"""How long the first final word waits for the others."""
HOLES_CLOSE_WITHIN_S: Final = 60.0
"""How long facts that are known to exist are waited for, once the call is over."""
SWEEP_PAGE: Final = 200

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = logs.logger(__name__)


class EpochCount(Struct, frozen=True, kw_only=True):
    """What is stored of an epoch, against what is known to exist of it."""

    epoch: int
    is_closed: bool
    seen: int
    known_seq: int

    @property
    def missing(self) -> int:
        """Facts that exist and are not stored."""
        return max(0, self.known_seq - self.seen)


class Verdict(Struct, frozen=True, kw_only=True):
    """What may be done about a call; ``missing`` counts the facts that its record lacks."""

    may_conclude: bool
    may_settle: bool
    missing: int


def judge(call: Ledger, epochs: Sequence[EpochCount], now: datetime) -> Verdict:
    """Whether the last word on a call may be said, and whether nothing of it is awaited any more."""
    missing = sum(epoch.missing for epoch in epochs)
    if not call.standing.is_final or call.over_at is None:
        return Verdict(may_conclude=False, may_settle=False, missing=missing)
    over_for = now - call.over_at
    # An epoch that another one followed may never be closed: its worker is gone.
    is_complete = missing == 0 and (not epochs or max(epochs, key=lambda epoch: epoch.epoch).is_closed)
    is_late = over_for >= timedelta(seconds=HOLES_CLOSE_WITHIN_S)
    all_spoke = is_complete and call.standing.has_carriers_word
    is_quiet = missing == 0 and over_for >= timedelta(seconds=LAST_WORD_WITHIN_S)
    return Verdict(
        may_conclude=all_spoke or is_quiet or is_late,
        may_settle=all_spoke or (is_complete and is_quiet) or is_late,
        missing=missing,
    )


async def conclude(connection: Connection, appended: Appended, now: datetime) -> Appended:
    """Says the last word on those of these locked calls that are due for it; returns all that was stored."""
    await _recount(connection, [call_id for call_id in appended.facts if appended.ledgers[call_id].concluded_at])
    over = [call for call in appended.ledgers.values() if call.standing.is_final and call.concluded_at is None]
    if not over:
        return appended
    epochs = await count_epochs(connection, [call.call_id for call in over])
    for call in over:
        verdict = judge(call, epochs[call.call_id], now)
        if verdict.may_conclude:
            appended = appended.join(await _conclude(connection, call, call.standing, verdict.missing, now))
    return appended


async def _recount(connection: Connection, call_ids: Sequence[CallId]) -> None:
    """Brings what a concluded call's row says of missing facts up to date with those that came after all."""
    if not call_ids:
        return
    await connection.execute(
        "update calls set missing_events = (select coalesce(sum(greatest(0, known_seq - seen)), 0) from epochs"
        " where epochs.call_id = calls.id) where id = any(%s)",
        ([ids.parsed(ids.CALL, call_id) for call_id in call_ids],),
    )


async def reap(connection: Connection, call_id: CallId) -> Appended:
    """Says the last word on a call that its carrier no longer knows; of all words it counts least."""
    now = datetime.now(UTC)
    calls = await ledger.lock(connection, [call_id])
    call = calls.get(call_id)
    if call is None or call.concluded_at is not None:
        return Appended(ledgers=calls, facts={})
    standing = call.standing
    if not standing.is_final:
        status = CallState.COMPLETED if standing.answered_at else CallState.FAILED
        standing = replace(standing, status=status, ended_at=now)
    missing = sum(epoch.missing for epoch in (await count_epochs(connection, [call_id]))[call_id])
    return await _conclude(connection, call, standing, missing, now)


async def _conclude(connection: Connection, call: Ledger, standing: Standing, missing: int, now: datetime) -> Appended:
    ended = CallEnded(
        call_id=call.call_id,
        project_id=call.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=now,
        state=standing.status,
        reason=why_ended(standing),
        duration_ms=duration_ms(standing),
        missing_events=missing,
    )
    await connection.execute(
        "update calls set concluded_at = %s, missing_events = %s, recording_due = case when epoch > 0 then %s end"
        " where id = %s",
        (now, missing, now + salvage.LOOKS[0], ids.parsed(ids.CALL, call.call_id)),
    )
    await moving.foresee_move(connection, call.call_id)
    await orders.analysis(connection, call.call_id)
    await legs.conclude(connection, call.call_id)
    if missing:
        log.error("call.facts_lost", call_id=call.call_id, missing=missing)
    return await ledger.append(connection, {call.call_id: call}, [own(ended)])


async def count_epochs(connection: Connection, call_ids: Sequence[CallId]) -> Mapping[CallId, list[EpochCount]]:
    """The epochs of these calls, none for a call that never had one."""
    cursor = await connection.execute(
        "select call_id, epoch, closed_seq is not null, seen, known_seq from epochs where call_id = any(%s)",
        ([ids.parsed(ids.CALL, call_id) for call_id in call_ids],),
    )
    counts: dict[CallId, list[EpochCount]] = {call_id: [] for call_id in call_ids}
    for call, epoch, is_closed, seen, known_seq in await cursor.fetchall():
        count = EpochCount(epoch=epoch, is_closed=is_closed, seen=seen, known_seq=known_seq)
        counts[CallId(ids.written(ids.CALL, call))].append(count)
    return counts


async def sweep(pool: Pool, bus: Bus) -> None:
    """Concludes and settles every call whose time has come. Replicas may sweep at once: each takes what is not locked.

    A call is settled after its messages were purged, so that a bus that is away only postpones it.
    """
    over_since = _LONG_AGO
    while True:
        async with pool.connection() as connection, connection.transaction():
            calls = await ledger.lock_due(
                connection, "settled_at is null and over_at > %s", (over_since,), order_by="over_at", limit=SWEEP_PAGE
            )
            due, concluded = await _judged(connection, calls)
        await news.publish(bus, concluded)
        await _settle(pool, bus, due)
        if len(calls) < SWEEP_PAGE:
            return
        over_since = max(call.over_at for call in calls if call.over_at is not None)


async def _judged(connection: Connection, calls: Sequence[Ledger]) -> tuple[list[Ledger], Appended]:
    """The calls that may be settled, and what concluding some of them stored."""
    now = datetime.now(UTC)
    concluded = await conclude(connection, Appended(ledgers={call.call_id: call for call in calls}, facts={}), now)
    epochs = await count_epochs(connection, [call.call_id for call in calls])
    return [call for call in calls if judge(call, epochs[call.call_id], now).may_settle], concluded


async def _settle(pool: Pool, bus: Bus, due: Sequence[Ledger]) -> None:
    if not due or not bus.is_connected:
        return
    purged = []
    for call in due:
        try:
            await bus.purge(subjects.call_story(call.project_id, call.call_id))
        except BusError as error:
            log.warning("settlement.postponed", call_id=call.call_id, error=str(error))
            break
        purged.append(ids.parsed(ids.CALL, call.call_id))
    async with pool.connection() as connection:
        await connection.execute(
            "update calls set settled_at = now() where id = any(%s) and settled_at is null", (purged,)
        )
