"""/v1/test-suites and /v1/test-runs."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.calls import repository as calls
from turncall_control.calls.model import CallEventRow
from turncall_control.db.base import owned
from turncall_control.duty import repeated
from turncall_control.errors import Conflict, Fault, Invalid
from turncall_control.http.paging import Page, PageAsked, number_after, paged
from turncall_control.jobs.lane import Lane
from turncall_control.plane import Plane, Slice
from turncall_control.suites import drafting, lines, progress, repository, schedules, starting, summary
from turncall_control.suites.jobs import JUDGEMENT_KIND, TRIAL_KIND
from turncall_control.suites.model import RunState, SuiteRow
from turncall_control.suites.phoning import Phoning
from turncall_control.suites.replay_routes import list_call_replays, replay_call
from turncall_control.suites.replaying import Replaying
from turncall_control.suites.schedule_routes import delete_test_schedule, list_test_schedules, put_test_schedule
from turncall_control.suites.schemas import (
    Comparison,
    RunNew,
    RunSummary,
    RunView,
    ScenarioAsked,
    SuiteFile,
    SuiteSummary,
    SuiteView,
    TrialView,
)
from turncall_control.suites.spec import SuiteSpec
from turncall_control.suites.starting import NoTestLine, TooManyRuns
from turncall_control.suites.views import run_summary, run_view, suite_summary, suite_view, trial_view
from turncall_control.vendors import catalogue
from turncall_control.vendors.catalogue import Catalogue
from turncall_proto import ids
from turncall_proto.call import FINAL
from turncall_proto.ids import AgentId, CallId, RunId, SuiteId
from turncall_proto.scenario import Persona, Scenario

_SUITE: Final = in_path("suite_id", ids.SUITE)
_RUN: Final = in_path("run_id", ids.RUN)
_CALL: Final = in_path("call_id", ids.CALL)
_READ, _WRITE = Permission.TESTS_READ, Permission.TESTS_WRITE


class RunOver(Conflict):
    """The run has ended: there is nothing to cancel."""

    name, title = "test-run-over", "The test run is over"


class NotTestable(Conflict):
    """The call is not over, or there is nothing in it that an agent could be held to."""

    name, title = "not-testable", "The call makes no scenario"


@put("/v1/test-suites", tags=["tests"], opt=needs(_WRITE, IN_PROJECT))
async def put_test_suite(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[SuiteFile],
) -> SuiteView:
    """Makes a suite, or brings the one of this name to what is sent. A scenario that cannot fail is refused."""
    found = list(_faults(plane.vendors, data))
    if found:
        raise Invalid(faults=found)
    row = await repository.named(session, caller.project_id, data.name)
    if row is None:
        row = SuiteRow(id=SuiteId(ids.mint(ids.SUITE)), project_id=caller.project_id, name=data.name)
        session.add(row)
    row.description, row.spec = data.description, SuiteSpec(judge=data.judge, scenarios=data.scenarios)
    row.changed_at = datetime.now(UTC)
    await session.flush()
    await session.refresh(row)
    return suite_view(row)


def _faults(vendors: Catalogue, file: SuiteFile) -> Iterator[Fault]:
    if file.judge is not None:
        yield from catalogue.faults_of(vendors, "llm", file.judge, "judge")
    for index, scenario in enumerate(file.scenarios):
        if isinstance(scenario.caller, Persona) and scenario.caller.model is not None:
            at = f"scenarios[{index}].caller.model"
            yield from catalogue.faults_of(vendors, "llm", scenario.caller.model, at)


@get("/v1/test-suites", tags=["tests"], opt=needs(_READ, IN_PROJECT))
async def list_test_suites(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    name: Annotated[str | None, QueryParameter(max_length=120, description="Its name, exactly.")] = None,
) -> Page[SuiteSummary]:
    """The project's test suites, newest first."""
    rows = await repository.suites(session, caller.project_id, page, name=name)
    return paged(rows, page, suite_summary, lambda row: (row.id,))


@get("/v1/test-suites/{suite_id:str}", tags=["tests"], opt=needs(_READ, _SUITE))
async def get_test_suite(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], suite_id: FromPath[str]
) -> SuiteView:
    """One test suite."""
    return suite_view(await repository.suite(session, caller.project_id, SuiteId(suite_id)))


@delete("/v1/test-suites/{suite_id:str}", tags=["tests"], opt=needs(_WRITE, _SUITE))
async def delete_test_suite(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], suite_id: FromPath[str]
) -> None:
    """Deletes a suite. Its runs stay, and those under way go on."""
    await repository.remove(session, await repository.suite(session, caller.project_id, SuiteId(suite_id)))


@post(
    "/v1/test-suites/{suite_id:str}/runs",
    status_code=201,
    tags=["tests"],
    opt=needs(_WRITE, _SUITE, fails=[TooManyRuns, NoTestLine], idempotent=True),
)
async def create_test_run(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    suite_id: FromPath[str],
    data: JSONBody[RunNew],
) -> RunView:
    """Begins to try a version. What is tried is the suite and the version as they are now.

    Tools of the agent are never used: each use is answered by a mock, or is an error of that trial. By phone the agent
    makes a call to each caller, over the carrier, and the caller is played by the installation's test line.
    """
    suite = await repository.suite(session, caller.project_id, SuiteId(suite_id))
    version = await starting.named(session, caller.project_id, data.agent_id, data.version_id)
    line = await starting.line(plane, session, caller.project_id, data)
    row = await starting.begin(session, suite, version, data, line)
    return run_view(row, await repository.tried(session, row))


@post(
    "/v1/calls/{call_id:str}/scenario", status_code=200, tags=["tests"], opt=needs(_WRITE, _CALL, fails=[NotTestable])
)
async def draft_scenario(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    call_id: FromPath[str],
    data: JSONBody[ScenarioAsked],
) -> Scenario:
    """Makes a scenario of a call that is over, and stores nothing: what the caller said, line by line, with the answers
    that the tools gave, expecting the same uses of tools and the same end by the agent. Look it over before it goes
    into a suite: it holds what a person said, which deleting the call then does not delete.
    """
    call = await calls.get(session, caller.project_id, CallId(call_id))
    if call.status not in FINAL:
        raise NotTestable("The call is not over yet")
    rows = await session.scalars(
        select(CallEventRow.payload)
        .where(
            CallEventRow.call_id == call.id,
            owned(CallEventRow.project_id, caller.project_id),
            CallEventRow.type.in_(("transcript.final", "tool.called", "tool.result")),
        )
        .order_by(CallEventRow.call_seq)
    )
    facts = [msgspec.convert(payload, drafting.Fact) for payload in rows]
    try:
        return drafting.drafted(data.name, facts, call.variables, call.ended_reason)
    except drafting.NothingToTest as error:
        raise NotTestable(f"Nothing can be made of it: {error}") from error


@get("/v1/test-runs", tags=["tests"], opt=needs(_READ, IN_PROJECT))
async def list_test_runs(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    suite_id: Annotated[
        SuiteId | None, QueryParameter(description="Of this suite.", pattern=r"^tst_[0-9a-f]{32}$(?!\n)")
    ] = None,
    agent_id: Annotated[
        AgentId | None, QueryParameter(description="Of this agent.", pattern=r"^agt_[0-9a-f]{32}$(?!\n)")
    ] = None,
    standing: Annotated[RunState | None, QueryParameter(name="state", description="Where it stands.")] = None,
) -> Page[RunSummary]:
    """The project's test runs, newest first."""
    rows = await repository.runs(session, caller.project_id, page, suite_id=suite_id, agent_id=agent_id, state=standing)
    return paged(rows, page, run_summary, lambda row: (row.id,))


@get("/v1/test-runs/{run_id:str}", tags=["tests"], opt=needs(_READ, _RUN))
async def get_test_run(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], run_id: FromPath[str]
) -> RunView:
    """One test run, with what is known of each scenario by now."""
    row = await repository.run(session, caller.project_id, RunId(run_id))
    return run_view(row, await repository.tried(session, row))


@get("/v1/test-runs/{run_id:str}/trials", tags=["tests"], opt=needs(_READ, _RUN))
async def list_test_trials(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    run_id: FromPath[str],
    page: NamedDependency[PageAsked],
) -> Page[TrialView]:
    """The conversations of a run in their order, with what was said and what came of each expectation."""
    row = await repository.run(session, caller.project_id, RunId(run_id))
    rows = await repository.trials(session, row, after=number_after(page), limit=page.limit + 1)
    return paged(rows, page, trial_view, lambda trial: (str(trial.number),))


@get("/v1/test-runs/{run_id:str}/comparison", tags=["tests"], opt=needs(_READ, _RUN))
async def compare_test_runs(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    run_id: FromPath[str],
    before: Annotated[
        RunId, QueryParameter(description="The earlier run, run_….", pattern=r"^run_[0-9a-f]{32}$(?!\n)")
    ],
) -> Comparison:
    """What has changed from an earlier run to this one, scenario by scenario: two versions, or two suites."""
    after_row = await repository.run(session, caller.project_id, RunId(run_id))
    before_row = await repository.run(session, caller.project_id, before)
    old, new = [summary.results(await repository.tried(session, row)) for row in (before_row, after_row)]
    return Comparison(
        before_id=before_row.id,
        before_version_number=before_row.version_number,
        after_id=after_row.id,
        after_version_number=after_row.version_number,
        scenarios=summary.compared(old, new),
    )


@post(
    "/v1/test-runs/{run_id:str}/cancel",
    status_code=200,
    tags=["tests"],
    opt=needs(_WRITE, _RUN, fails=[RunOver]),
)
async def cancel_test_run(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], run_id: FromPath[str]
) -> RunView:
    """Ends a run that is under way; a repeat finds it cancelled. What is known by then stays."""
    row = await repository.run(session, caller.project_id, RunId(run_id), is_locked=True)
    if row.state is RunState.COMPLETED:
        raise RunOver
    if row.state is RunState.RUNNING:
        await progress.cancel(session, row)
    return run_view(row, await repository.tried(session, row))


@asynccontextmanager
async def try_versions(plane: Plane) -> AsyncIterator[None]:
    """Begins runs as they fall due, trials as there is room; sends their jobs and takes what came of them."""
    async with (
        Lane(plane, TRIAL_KIND).open(),
        Lane(plane, JUDGEMENT_KIND).open(),
        repeated("test_runs", partial(progress.attend, plane), progress.LOOK_EVERY_S),
        repeated("test_schedules", partial(schedules.attend, plane), schedules.LOOK_EVERY_S),
        lines.opened(plane.config) as line,
        repeated("replays", Replaying(plane, line).attend, progress.LOOK_EVERY_S),
        repeated("phone_tests", Phoning(plane, line).attend, progress.LOOK_EVERY_S),
    ):
        yield


SUITES: Final = Slice(
    name="suites",
    routes=(
        put_test_suite,
        list_test_suites,
        get_test_suite,
        delete_test_suite,
        create_test_run,
        draft_scenario,
        list_test_runs,
        get_test_run,
        list_test_trials,
        compare_test_runs,
        cancel_test_run,
        put_test_schedule,
        list_test_schedules,
        delete_test_schedule,
        replay_call,
        list_call_replays,
    ),
    tasks=(try_versions,),
)
