"""From rows to what the API and webhooks show. Pure."""

from collections.abc import Sequence
from typing import cast

import msgspec

from turncall_control.suites import summary
from turncall_control.suites.model import ReplayRow, RunRow, RunState, SuiteRow, TrialRow
from turncall_control.suites.schemas import (
    Judged,
    Mode,
    Outcome,
    ReplayView,
    RunSummary,
    RunView,
    SuiteSummary,
    SuiteView,
    TrialView,
)
from turncall_control.suites.summary import Tried
from turncall_proto.job import ModelUse


def suite_view(row: SuiteRow) -> SuiteView:
    """A suite's row as users see it."""
    return SuiteView(
        id=row.id,
        name=row.name,
        description=row.description,
        judge=row.spec.judge,
        scenarios=row.spec.scenarios,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def suite_summary(row: SuiteRow) -> SuiteSummary:
    """A suite's row as a list shows it."""
    return SuiteSummary(
        id=row.id,
        name=row.name,
        description=row.description,
        scenarios=tuple(scenario.name for scenario in row.spec.scenarios),
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def run_summary(row: RunRow) -> RunSummary:
    """A run's row as a list shows it."""
    return RunSummary(
        id=row.id,
        suite_id=row.suite_id,
        suite_name=row.suite_name,
        agent_id=row.agent_id,
        version_id=row.version_id,
        version_number=row.version_number,
        mode=cast(Mode, row.mode),
        account=row.account,
        from_number=row.from_number,
        state=row.state,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def run_view(row: RunRow, tried: Sequence[Tried]) -> RunView:
    """A run with what its trials add up to."""
    found = summary.results(tried)
    outcome: Outcome = "canceled" if row.state is RunState.CANCELED else summary.outcome_of(found)
    return RunView(
        id=row.id,
        suite_id=row.suite_id,
        suite_name=row.suite_name,
        agent_id=row.agent_id,
        version_id=row.version_id,
        version_number=row.version_number,
        mode=cast(Mode, row.mode),
        account=row.account,
        from_number=row.from_number,
        repeats=row.repeats,
        at_once=row.at_once,
        state=row.state,
        outcome=outcome,
        scenarios=found,
        used=summary.used(tried),
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def trial_view(row: TrialRow) -> TrialView:
    """A trial's row as users see it."""
    return TrialView(
        id=row.id,
        run_id=row.run_id,
        number=row.number,
        scenario=row.scenario,
        repeat=row.repeat,
        state=row.state,
        call_id=row.phone_call_id,
        detail=row.detail,
        judged=msgspec.convert(row.judged, tuple[Judged, ...]),
        talk=row.talk,
        used=msgspec.convert(row.used, tuple[ModelUse, ...]),
        began_at=row.began_at,
        ended_at=row.ended_at,
    )


def replay_view(row: ReplayRow) -> ReplayView:
    """A replay's row as users see it."""
    return ReplayView(
        id=row.id,
        call_id=row.call_id,
        agent_id=row.agent_id,
        version_id=row.version_id,
        version_number=row.version_number,
        account=row.account,
        from_number=row.from_number,
        state=row.state,
        detail=row.detail,
        replayed_as=row.phone_call_id,
        difference=row.difference,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
