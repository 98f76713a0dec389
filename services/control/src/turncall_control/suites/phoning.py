"""Trials by phone: each is a real call to the version, which a test line answers, and is judged by the call's record.

What is under way is in the rows alone, so that any replica goes on with it: a line that is told twice what to expect
expects it once, a trial gets its call in the transaction that has it dialled, and is judged in one that locks it.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls import ending
from turncall_control.calls.model import CallRow
from turncall_control.dials import trying
from turncall_control.dials.trying import Trying
from turncall_control.plane import Plane
from turncall_control.suites import hearing, jobs, playing, repository
from turncall_control.suites.lines import LineAway, LineRefused, TestLine
from turncall_control.suites.model import RunRow, TrialRow, TrialState
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import CallId, TrialId
from turncall_runtime import logs

AT_ONCE: Final = 20
"""Trials that one look takes up."""
LINE_WITHIN: Final = timedelta(seconds=60)
"""How long a line that cannot be reached is asked again."""

log = logs.logger(__name__)


class Phoning:
    """One replica's share of the trials by phone."""

    def __init__(self, plane: Plane, line: TestLine | None) -> None:
        self._plane = plane
        self._line = line

    async def attend(self) -> None:
        """Has calls placed for trials that have begun, judges those whose call is over, and ends calls that nobody
        awaits."""
        for trial in await self._begun():
            await self._call(trial)
        for trial_id in await self._over():
            await self._judge(trial_id)
        for call_id in await self._unawaited():
            await ending.closed(self._plane, call_id)

    async def _begun(self) -> list[TrialRow]:
        async with self._plane.database.system() as session:
            found = await session.scalars(
                select(TrialRow)
                .join(RunRow, RunRow.id == TrialRow.run_id)
                .where(RunRow.mode == "phone", TrialRow.state == TrialState.TALKING, TrialRow.phone_call_id.is_(None))
                .order_by(TrialRow.id)
                .limit(AT_ONCE)
            )
            return list(found)

    async def _call(self, begun: TrialRow) -> None:
        """The line is told first: whoever answers must know what to do."""
        async with self._plane.database.system() as session:
            run = await session.get_one(RunRow, begun.run_id)
        number = trying.test_number(ids.parsed(ids.TRIAL, begun.id).int)
        try:
            if self._line is None:
                raise LineRefused("This installation has no test line any more")
            await self._line.expect(number, playing.acts(jobs.scenario_of(run, begun), run.agent))
        except LineRefused as error:
            await self._give_up(begun.id, str(error))
            return
        except LineAway as error:
            log.warning("test_line.away", trial_id=begun.id, error=str(error))
            if begun.began_at is None or begun.began_at < datetime.now(UTC) - LINE_WITHIN:
                await self._give_up(begun.id, "The test line could not be reached")
            return
        async with self._plane.database.system() as session, session.begin():
            trial = await _locked(session, begun.id)
            if trial is not None and trial.phone_call_id is None:
                trial.phone_call_id = await trying.dial(session, run.project_id, _call(run, trial, number))

    async def _give_up(self, trial_id: TrialId, why: str) -> None:
        async with self._plane.database.system() as session, session.begin():
            trial = await _locked(session, trial_id)
            if trial is not None:
                jobs.end(trial, TrialState.ERROR, why)

    async def _over(self) -> list[TrialId]:
        """Trials whose call is settled: all that is known of it is in its record by then; or gone with it."""
        async with self._plane.database.system() as session:
            found = await session.scalars(
                select(TrialRow.id)
                .outerjoin(CallRow, CallRow.id == TrialRow.phone_call_id)
                .where(
                    TrialRow.state == TrialState.TALKING,
                    TrialRow.phone_call_id.is_not(None),
                    CallRow.id.is_(None) | CallRow.settled_at.is_not(None),
                )
                .order_by(TrialRow.id)
                .limit(AT_ONCE)
            )
            return list(found)

    async def _judge(self, trial_id: TrialId) -> None:
        async with self._plane.database.system() as session, session.begin():
            trial = await _locked(session, trial_id)
            if trial is None or trial.phone_call_id is None:
                return
            run = await session.get_one(RunRow, trial.run_id)
            call = await session.get(CallRow, trial.phone_call_id)
            if call is None:
                jobs.end(trial, TrialState.ERROR, "Its call was deleted")
                return
            facts = await repository.facts(session, call.id)
            jobs.count(trial, hearing.used(facts))
            talk = hearing.heard(facts, call.ended_reason or EndedReason.UNKNOWN)
            if call.status is CallState.COMPLETED:
                await jobs.judge(session, run, trial, talk)
            else:
                trial.talk = talk
                jobs.end(trial, TrialState.ERROR, f"The call was not had: {call.status}, {talk.ended}")

    async def _unawaited(self) -> list[CallId]:
        """Calls that go on for trials that were cancelled."""
        async with self._plane.database.system() as session:
            found = await session.scalars(
                select(CallRow.id)
                .join(TrialRow, TrialRow.phone_call_id == CallRow.id)
                .where(TrialRow.state == TrialState.CANCELED, CallRow.over_at.is_(None), ~CallRow.end_intended)
                .limit(AT_ONCE)
            )
            return list(found)


def _call(run: RunRow, trial: TrialRow, number: str) -> Trying:
    scenario = jobs.scenario_of(run, trial)
    return Trying(
        from_number=run.from_number,
        to_number=number,
        account=run.account,
        agent_id=run.agent_id,
        version_id=run.version_id,
        agent=run.agent,
        mocks=scenario.mocks,
        variables=scenario.variables,
    )


async def _locked(session: AsyncSession, trial_id: TrialId) -> TrialRow | None:
    """The trial, for this transaction alone; None when it does not talk any more."""
    statement = select(TrialRow).where(TrialRow.id == trial_id, TrialRow.state == TrialState.TALKING)
    return await session.scalar(statement.with_for_update())
