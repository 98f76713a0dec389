"""How a run begins, whoever begins it: a request, or a schedule that falls due."""

from typing import Final

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.model import VersionRow
from turncall_control.dials import trying
from turncall_control.errors import Conflict, Invalid
from turncall_control.plane import Plane
from turncall_control.projects.model import ProjectRow
from turncall_control.settings import speaking
from turncall_control.suites import repository
from turncall_control.suites.model import RunRow, RunState, SuiteRow
from turncall_control.suites.schemas import RunNew
from turncall_control.suites.spec import SuiteSpec, Tries
from turncall_proto import ids
from turncall_proto.agent import Cascade
from turncall_proto.ids import AgentId, ProjectId, RunId, VersionId
from turncall_proto.scenario import MeetsRubric, Persona, speaks_only

MOST_TRIALS: Final = 500
"""Of one run."""
MOST_RUNNING: Final = 10
"""Runs of one project at a time."""


class TooManyRuns(Conflict):
    """So many of the project's runs are under way that no more are begun."""

    name, title = "too-many-test-runs", "Too many test runs are under way"


class NoTestLine(Conflict):
    """The installation has nobody who plays callers, or the project no number to call them from."""

    name, title = "no-test-line", "There is no line for tests by phone"


class Line(Struct, frozen=True, kw_only=True):
    """From where callers who are played are called: the carrier account, and the project's number in it."""

    account: str
    from_number: str


async def line(plane: Plane, session: AsyncSession, project_id: ProjectId, wanted: RunNew) -> Line | None:
    """Who calls in a run by phone; None for one in writing. Raises `Invalid`, `NoTestLine`."""
    if wanted.mode == "text":
        if wanted.from_number is not None:
            raise Invalid.at("from_number", "Nobody is called in writing")
        return None
    return await phone_line(plane, session, project_id, wanted.from_number)


async def phone_line(plane: Plane, session: AsyncSession, project_id: ProjectId, from_number: str | None) -> Line:
    """Who calls by phone: the project's number that is named, or its oldest one in the account. Raises as `line`."""
    account = plane.accounts.installation
    if plane.config.test_lines == "none" or not account:
        raise NoTestLine("TURNCALL_TEST_LINES names nobody who plays callers")
    number = await trying.number_of(session, project_id, account, from_number)
    if number is None and from_number is not None:
        raise Invalid.at("from_number", f"It is no number of this project in the carrier account {account}")
    if number is None:
        raise NoTestLine(f"The project has no number in the carrier account {account}")
    return Line(account=account, from_number=number.e164)


async def named(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId | None, version_id: VersionId | None
) -> VersionRow:
    """The version that is to be tried. Raises `Invalid` unless one of the two is given, and when there is none."""
    if (agent_id is None) == (version_id is None):
        raise Invalid.at("agent_id", "Give either agent_id or version_id")
    found = await repository.tested(session, project_id, agent_id, version_id)
    if found is None and version_id is not None:
        raise Invalid.at("version_id", "There is no such version in this project")
    if found is None:
        raise Invalid.at("agent_id", "There is no such agent in this project, or it is not published")
    return found


async def begin(
    session: AsyncSession, suite: SuiteRow, version: VersionRow, tries: Tries, line: Line | None = None
) -> RunRow:
    """A new run of the suite against the version, both as they are now: by phone over ``line``, or else in writing.

    Raises `Invalid`, `TooManyRuns`.
    """
    spec = chosen(suite.spec, tries)
    _require_models(spec, version, is_phone=line is not None)
    _require_callers(spec, is_phone=line is not None)
    if await repository.running(session, suite.project_id) >= MOST_RUNNING:
        raise TooManyRuns(f"{MOST_RUNNING} are under way; wait for one, or cancel it")
    project = await session.get_one(ProjectRow, suite.project_id)
    row = RunRow(
        id=RunId(ids.mint(ids.RUN)),
        project_id=suite.project_id,
        suite_id=suite.id,
        suite_name=suite.name,
        agent_id=version.agent_id,
        version_id=version.id,
        version_number=version.number,
        spec=spec,
        agent=speaking(version.config, project.settings.default_language),
        mode="text" if line is None else "phone",
        account="" if line is None else line.account,
        from_number="" if line is None else line.from_number,
        repeats=tries.repeats,
        at_once=tries.at_once,
        state=RunState.RUNNING,
    )
    return await repository.add_run(session, row)


def _require_models(spec: SuiteSpec, version: VersionRow, *, is_phone: bool) -> None:
    """An agent without a language model cannot write, and lends none to play the caller or to judge."""
    if isinstance(version.config.pipeline, Cascade):
        return
    if not is_phone:
        raise Invalid.at("version_id", "Its pipeline has no model that writes")
    is_read = any(isinstance(one, MeetsRubric) for scenario in spec.scenarios for one in scenario.expects)
    if is_read and spec.judge is None:
        raise Invalid.at("version_id", "Its pipeline has no model that reads by rubrics, and the suite names no judge")


def _require_callers(spec: SuiteSpec, *, is_phone: bool) -> None:
    for scenario in spec.scenarios:
        if not is_phone and not speaks_only(scenario.caller):
            raise Invalid.at("mode", f"The caller of {scenario.name!r} does what can only be done by phone")
        if is_phone and isinstance(scenario.caller, Persona):
            raise Invalid.at("mode", f"The caller of {scenario.name!r} is a persona, who can only be played in writing")


def chosen(spec: SuiteSpec, tries: Tries) -> SuiteSpec:
    """What of the suite is tried. Raises `Invalid` for a scenario that it does not have, and for too many trials."""
    known = {scenario.name for scenario in spec.scenarios}
    for index, name in enumerate(tries.scenarios):
        if name not in known:
            raise Invalid.at(f"scenarios[{index}]", "The suite has no scenario of this name")
    kept = tuple(one for one in spec.scenarios if not tries.scenarios or one.name in tries.scenarios)
    if len(kept) * tries.repeats > MOST_TRIALS:
        raise Invalid.at("repeats", f"A run has {MOST_TRIALS} conversations at most, and this would be more")
    return SuiteSpec(judge=spec.judge, scenarios=kept)
