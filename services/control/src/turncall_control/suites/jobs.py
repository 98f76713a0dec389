"""The jobs of a trial: its conversation, and what a model judges of it; what is sent, and what the answers become."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls import plans
from turncall_control.jobs.lane import Connection, Due, Kind
from turncall_control.plane import Plane
from turncall_control.suites import judging, ordering
from turncall_control.suites.model import UNDER_WAY, RunRow, TrialRow, TrialState
from turncall_control.suites.schemas import Judged
from turncall_proto.agent import Cascade, VendorRef
from turncall_proto.call import CallStart
from turncall_proto.ids import CallId
from turncall_proto.job import JobFailed, JudgementDone, JudgementJob, ModelUse, TrialDone, TrialJob
from turncall_proto.scenario import Persona, Scenario, Talk


async def _of(session: AsyncSession, due: Due, *, is_locked: bool = False) -> tuple[TrialRow, RunRow] | None:
    """The trial that waits for this job, with its run; None when nobody does any more."""
    statement = select(TrialRow).where(TrialRow.job_id == due.job_id, TrialRow.state.in_(UNDER_WAY))
    trial = await session.scalar(statement.with_for_update() if is_locked else statement)
    if trial is None:
        return None
    return trial, await session.get_one(RunRow, trial.run_id)


def scenario_of(run: RunRow, trial: TrialRow) -> Scenario:
    """What the trial is one of."""
    return next(scenario for scenario in run.spec.scenarios if scenario.name == trial.scenario)


async def plan_trial(connection: Connection, plane: Plane, due: Due) -> TrialJob | None:
    """The conversation to be had; None when nobody waits for it any more."""
    async with plane.database.system() as session:
        found = await _of(session, due)
    if found is None:
        return None
    trial, run = found
    scenario = scenario_of(run, trial)
    wallet = await plane.wallets.open(run.project_id, connection)
    played = scenario.caller.model if isinstance(scenario.caller, Persona) else None
    start = CallStart(
        call_id=CallId(trial.id),
        project_id=run.project_id,
        epoch=1,
        agent_id=run.agent_id,
        version_id=run.version_id,
        agent=run.agent,
        channel="chat",
        direction="inbound",
        from_number="test",
        to_number="",
        provider="test",
        provider_call_id="",
        variables=scenario.variables,
        **plans.sealed(plane, run.project_id, wallet, run.agent),
    )
    refs = _writers(run) if played is None else (played,)
    return TrialJob(
        job_id=due.job_id,
        project_id=run.project_id,
        planned_at=datetime.now(UTC),
        plan=start,
        scenario=scenario,
        **plans.sealed_keys(plane, run.project_id, wallet, refs),
    )


async def take_trial(
    connection: Connection, plane: Plane, due: Due, answer: TrialDone | JobFailed
) -> Callable[[], Awaitable[None]]:
    """The conversation is judged by rule, and handed to a model if there is something left for one. An answer that
    comes again finds a trial that waits for it no more."""
    async with plane.database.system() as session, session.begin():
        found = await _of(session, due, is_locked=True)
        if found is not None:
            trial, run = found
            count(trial, answer.used)
            if isinstance(answer, JobFailed):
                end(trial, TrialState.ERROR, answer.detail)
            else:
                await judge(session, run, trial, answer.talk)
    return _nothing_more


async def judge(session: AsyncSession, run: RunRow, trial: TrialRow, talk: Talk) -> None:
    """What a conversation that was had means for its trial."""
    trial.talk = talk
    if talk.unmocked:
        end(trial, TrialState.ERROR, f"The agent used what the scenario has no mock for: {talk.unmocked}")
        return
    found = judging.judged(talk, scenario_of(run, trial).expects)
    if judging.rubrics(found):
        _keep(trial, found)
        trial.state = TrialState.JUDGING
        trial.job_id = await ordering.order(session, run.project_id, ordering.JUDGEMENT)
    else:
        _conclude(trial, found)


async def plan_judgement(connection: Connection, plane: Plane, due: Due) -> JudgementJob | None:
    """The conversation with what a model is to say of it; None when nobody waits for it any more."""
    async with plane.database.system() as session:
        found = await _of(session, due)
    if found is None:
        return None
    trial, run = found
    assert trial.talk is not None  # judged only after it was had
    judge_ref = run.spec.judge
    models = _writers(run) if judge_ref is None else (judge_ref,)
    wallet = await plane.wallets.open(run.project_id, connection)
    return JudgementJob(
        job_id=due.job_id,
        project_id=run.project_id,
        planned_at=datetime.now(UTC),
        models=models,
        language=run.agent.language,
        rubrics=judging.rubrics(_judged(trial)),
        talk=trial.talk,
        **plans.sealed_keys(plane, run.project_id, wallet, models),
    )


async def take_judgement(
    connection: Connection, plane: Plane, due: Due, answer: JudgementDone | JobFailed
) -> Callable[[], Awaitable[None]]:
    """What the model says settles the trial. A judge who makes no sense leaves it undecided: that is no pass."""
    async with plane.database.system() as session, session.begin():
        found = await _of(session, due, is_locked=True)
        if found is not None:
            trial, _ = found
            count(trial, answer.used)
            open_rubrics = judging.rubrics(_judged(trial))
            if isinstance(answer, JobFailed):
                end(trial, TrialState.ERROR, f"The judge: {answer.detail}")
            elif len(answer.findings) != len(open_rubrics):
                end(trial, TrialState.ERROR, "The judge answered something else than what was asked")
            else:
                _conclude(trial, judging.settled(_judged(trial), answer.findings))
    return _nothing_more


def _judged(trial: TrialRow) -> tuple[Judged, ...]:
    return msgspec.convert(trial.judged, tuple[Judged, ...])


def _keep(trial: TrialRow, found: tuple[Judged, ...]) -> None:
    trial.judged = json.loads(msgspec.json.encode(found))


def _conclude(trial: TrialRow, found: tuple[Judged, ...]) -> None:
    _keep(trial, found)
    why = judging.complaint(found)
    end(trial, TrialState.FAILED if why else TrialState.PASSED, why)


def end(trial: TrialRow, state: TrialState, detail: str) -> None:
    """A locked trial is over, for this reason."""
    trial.state, trial.detail, trial.ended_at, trial.job_id = state, detail, datetime.now(UTC), None


def count(trial: TrialRow, used: Sequence[ModelUse]) -> None:
    """Adds to what a trial took of models."""
    before = msgspec.convert(trial.used, tuple[ModelUse, ...])
    trial.used = json.loads(msgspec.json.encode((*before, *used)))


def _writers(run: RunRow) -> tuple[VendorRef, ...]:
    """The models of the tested agent that write; a suite for one without them names its own."""
    pipeline = run.agent.pipeline
    return pipeline.stages()["llm"] if isinstance(pipeline, Cascade) else ()


async def _nothing_more() -> None:
    """Whoever waits looks at the run."""


TRIAL_KIND: Final[Kind[Any]] = Kind(name=ordering.TRIAL, answer=TrialDone, plan=plan_trial, take=take_trial)
JUDGEMENT_KIND: Final[Kind[Any]] = Kind(
    name=ordering.JUDGEMENT, answer=JudgementDone, plan=plan_judgement, take=take_judgement
)
