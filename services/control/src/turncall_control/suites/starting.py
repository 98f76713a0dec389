"""How a run begins, whoever begins it: a request, or a schedule that falls due."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.model import VersionRow
from turncall_control.errors import Conflict, Invalid
from turncall_control.suites import repository
from turncall_control.suites.model import RunRow, RunState, SuiteRow
from turncall_control.suites.spec import SuiteSpec, Tries
from turncall_proto import ids
from turncall_proto.agent import Cascade
from turncall_proto.ids import AgentId, ProjectId, RunId, VersionId

MOST_TRIALS: Final = 500
"""Of one run."""
MOST_RUNNING: Final = 10
"""Runs of one project at a time."""


class TooManyRuns(Conflict):
    """So many of the project's runs are under way that no more are begun."""

    name, title = "too-many-test-runs", "Too many test runs are under way"


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


async def begin(session: AsyncSession, suite: SuiteRow, version: VersionRow, tries: Tries) -> RunRow:
    """A new run of the suite against the version, both as they are now. Raises `Invalid`, `TooManyRuns`."""
    spec = chosen(suite.spec, tries)
    if not isinstance(version.config.pipeline, Cascade):
        raise Invalid.at("version_id", "Its pipeline has no model that writes")
    if await repository.running(session, suite.project_id) >= MOST_RUNNING:
        raise TooManyRuns(f"{MOST_RUNNING} are under way; wait for one, or cancel it")
    row = RunRow(
        id=RunId(ids.mint(ids.RUN)),
        project_id=suite.project_id,
        suite_id=suite.id,
        suite_name=suite.name,
        agent_id=version.agent_id,
        version_id=version.id,
        version_number=version.number,
        spec=spec,
        agent=version.config,
        mode="text",
        repeats=tries.repeats,
        at_once=tries.at_once,
        state=RunState.RUNNING,
    )
    return await repository.add_run(session, row)


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
