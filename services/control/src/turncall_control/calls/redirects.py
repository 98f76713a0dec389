"""Calls whose worker has fallen silent: they are taken away from it, and the carrier is told to ask what comes next.

Not every carrier notices a lost socket, and none notices a frozen worker. Taking a call away is one conditional step
under its row's lock, so that each epoch is left once, by whichever replica judges first; sending the redirects is work
that any replica picks up, across restarts.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from turncall_control.calls import hangups, inquiry, ledger, news
from turncall_control.calls.ledger import Connection, Ledger
from turncall_control.calls.plans import REDIRECTED, resume_url
from turncall_control.carriers.base import CarrierError, Gone, Immovable, Line, NotInProgress
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import CallId, WorkerId
from turncall_runtime import logs

JUDGE_EVERY_S: Final = 0.25
REDIRECTS_PER_S: Final = 20
"""For one account at a carrier: what may go to its REST interface for calls that are all lost at once."""
PAUSES_S: Final = (2.0, 4.0, 8.0, 15.0)
"""Between the tries to have the carrier ask; after the last one the call is ended."""

_JUDGING: Final = 7_203_551_065
"""Any number: the replica that takes calls away holds it, so that the rate holds for all of them together."""

log = logs.logger(__name__)


class Redirects:
    """Judges silent workers and brings their calls to the carrier's attention."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._is_frozen = False

    async def attend(self) -> None:
        """One look at the workers, and every redirect that is due. Replicas may do this at once."""
        self._note_freeze()
        await self._leave_the_dead()
        await self._send()

    def _note_freeze(self) -> None:
        together = self._plane.workers.fell_silent_together
        if together and not self._is_frozen:
            self._plane.counts.withheld.inc()
            log.error("workers.silent_together", workers=together, hint="look at the network between NATS and them")
        self._is_frozen = bool(together)

    async def _leave_the_dead(self) -> None:
        workers = self._plane.workers
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            cursor = await connection.execute("select pg_try_advisory_xact_lock(%s)", (_JUDGING,))
            if await cursor.fetchone() != (True,):
                return
            held = await _held_by_others(connection, workers.heard_lately())
            silent_s = workers.dead({worker for _, _, worker in held})
            lost = [(call, account, worker) for call, account, worker in held if worker in silent_s]
            if not lost:
                return
            await self._leave(connection, lost, silent_s)
        for worker, seconds in silent_s.items():
            log.error("worker.lost", worker=worker, silent_s=round(seconds, 1))
        for call, _, worker in lost:
            log.warning("call.left", call_id=ids.written(ids.CALL, call), worker=worker)
        self._plane.counts.workers_lost.inc(len(silent_s))

    async def _leave(
        self, connection: Connection, lost: list[tuple[UUID, str, WorkerId]], silent_s: dict[WorkerId, float]
    ) -> None:
        """Takes the calls away, and spreads their redirects so that no account is asked too much within a second."""
        now = datetime.now(UTC)
        scheduled = await _scheduled(connection)
        due_in: list[timedelta] = []
        for _, account, _ in lost:
            due_in.append(timedelta(seconds=scheduled.get(account, 0) // REDIRECTS_PER_S))
            scheduled[account] = scheduled.get(account, 0) + 1
        await connection.execute(
            "update epochs e set lost_at = lost.at, lost_cause = 'worker_silent', redirect_due = now() + lost.due_in"
            " from unnest(%s::uuid[], %s::timestamptz[], %s::interval[]) as lost (call, at, due_in), calls c"
            " where c.id = lost.call and e.call_id = c.id and e.epoch = c.epoch",
            (
                [call for call, _, _ in lost],
                [now - timedelta(seconds=silent_s[worker]) for _, _, worker in lost],
                due_in,
            ),
        )
        await connection.execute(
            "update calls set left_epoch = epoch where id = any(%s)", ([call for call, _, _ in lost],)
        )

    async def _send(self) -> None:
        async with self._plane.database.pool.connection() as connection:
            async with connection.transaction():
                due = await _take_due(connection)
            # Not in the same transaction: everybody else locks a call before its epochs.
            async with connection.transaction():
                calls = await ledger.lock(connection, [call_id for call_id, _, _ in due])
        async with asyncio.TaskGroup() as group:
            for call_id, epoch, tries in due:
                group.create_task(self._redirect(calls[call_id], epoch, tries))

    async def _redirect(self, call: Ledger, epoch: int, tries: int) -> None:
        try:
            carrier = await self._plane.accounts.line(call.project_id, call.provider, call.account)
            if carrier is None or call.provider_call_id is None:
                log.error("redirect.impossible", call_id=call.call_id, provider=call.provider)
                self._plane.counts.redirected.labels("impossible").inc()
                return
            outcome = await self._ask(carrier, call, call.provider_call_id, epoch)
        except Immovable:
            self._plane.counts.redirected.labels("impossible").inc()
            state = CallState.FAILED if call.standing.answered_at else CallState.NO_ANSWER
            await give_up(self._plane, call, EndedReason.WORKER_LOST, state)
            return
        except CarrierError as error:
            outcome = "failed"
            log.warning("redirect.failed", call_id=call.call_id, epoch=epoch, tries=tries, error=str(error))
        self._plane.counts.redirected.labels(outcome).inc()
        if tries > len(PAUSES_S) and outcome != "over":
            await give_up(self._plane, call, EndedReason.WORKER_LOST, CallState.FAILED)

    async def _ask(self, carrier: Line, call: Ledger, provider_call_id: str, epoch: int) -> str:
        url = f"{resume_url(self._plane, call.provider, call.call_id, epoch)}?{REDIRECTED}=1"
        try:
            await carrier.redirect_call(provider_call_id, url)
        except NotInProgress:
            return "refused" if await inquiry.is_live(self._plane, carrier, call) else "over"
        except Gone:
            await inquiry.forget(self._plane, call)
            return "over"
        log.info("call.redirected", call_id=call.call_id, epoch=epoch)
        return "asked"


async def give_up(plane: Plane, call: Ledger, reason: EndedReason, state: CallState) -> None:
    """Has a call ended at its carrier that nobody can go on with; a call that is over or being ended stays as it is."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        calls = await ledger.lock(connection, [call.call_id])
        appended = await hangups.intend(connection, calls[call.call_id], reason, state, due_in_s=0)
    if appended.facts:
        log.error("call.given_up", call_id=call.call_id, reason=reason)
        plane.counts.refused.labels(reason).inc()
    await news.publish(plane.bus, appended)


async def _held_by_others(connection: Connection, heard: list[WorkerId]) -> list[tuple[UUID, str, WorkerId]]:
    """Live calls, locked, whose latest epoch is held by a worker not heard lately: call, account, worker."""
    cursor = await connection.execute(
        "select c.id, c.account, e.worker from calls c join epochs e on e.call_id = c.id and e.epoch = c.epoch"
        " where c.over_at is null and not c.end_intended and c.left_epoch < c.epoch and e.worker <> all(%s)"
        " order by c.id for no key update of c skip locked",
        (heard,),
    )
    return [(call, account, WorkerId(worker)) for call, account, worker in await cursor.fetchall()]


async def _scheduled(connection: Connection) -> dict[str, int]:
    """How many redirects each account has had within a second, or is about to have."""
    cursor = await connection.execute(
        "select c.account, count(*) from epochs e join calls c on c.id = e.call_id"
        " where e.redirected_at > now() - interval '1 second' or"
        " (e.redirect_due is not null and e.redirected_at is null)"
        " group by c.account"
    )
    return dict(await cursor.fetchall())


async def _take_due(connection: Connection) -> list[tuple[CallId, int, int]]:
    """Redirects to be sent: call, epoch, number of the try from 1. Each is due again unless the carrier asks."""
    cursor = await connection.execute(
        "with due as ("
        " select e.call_id, e.epoch from epochs e join calls c on c.id = e.call_id"
        " where e.redirect_due <= now() and c.over_at is null and not c.end_intended"
        " order by e.redirect_due limit %s for update of e skip locked)"
        " update epochs e set redirect_tries = redirect_tries + 1, redirected_at = now(),"
        " redirect_due = now() + (%s::interval[])[redirect_tries + 1]"
        " from due where e.call_id = due.call_id and e.epoch = due.epoch"
        " returning e.call_id, e.epoch, e.redirect_tries",
        (REDIRECTS_PER_S, [timedelta(seconds=pause_s) for pause_s in PAUSES_S]),
    )
    return [(CallId(ids.written(ids.CALL, call)), epoch, tries) for call, epoch, tries in await cursor.fetchall()]
