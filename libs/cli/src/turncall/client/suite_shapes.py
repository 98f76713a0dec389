"""What the API answers about test suites and their runs."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from turncall_proto.agent import VendorRef
from turncall_proto.call import EndedReason
from turncall_proto.ids import AgentId, CallId, ReplayId, RunId, SuiteId, TrialId, VersionId
from turncall_proto.job import ModelUse
from turncall_proto.scenario import Expectation, Scenario, Talk, TalkTurn

Mode = Literal["text", "phone"]
Outcome = Literal["pending", "passed", "failed", "error", "canceled"]


class SuiteView(Struct, frozen=True, kw_only=True):
    """A suite."""

    id: SuiteId
    name: str
    description: str
    judge: VendorRef | None
    scenarios: tuple[Scenario, ...]
    created_at: datetime
    changed_at: datetime


class SuiteSummary(Struct, frozen=True, kw_only=True):
    """A suite in a list."""

    id: SuiteId
    name: str
    description: str
    scenarios: tuple[str, ...]
    created_at: datetime
    changed_at: datetime


class ScheduleView(Struct, frozen=True, kw_only=True):
    """A schedule, and what came of it last."""

    suite_id: SuiteId
    agent_id: AgentId
    cron: str
    time_zone: str
    scenarios: tuple[str, ...]
    repeats: int
    at_once: int
    is_paused: bool
    next_at: datetime | None
    last_run_id: RunId | None
    problem: str


class ScenarioResult(Struct, frozen=True, kw_only=True):
    """What came of one scenario's conversations."""

    scenario: str
    outcome: Outcome
    passed: int
    failed: int
    errors: int
    flake_rate: float | None


class RunView(Struct, frozen=True, kw_only=True):
    """A run, with what is known of it by now."""

    id: RunId
    suite_id: SuiteId | None
    suite_name: str
    agent_id: AgentId
    version_id: VersionId
    version_number: int
    mode: Mode
    account: str
    from_number: str
    repeats: int
    at_once: int
    state: Literal["running", "completed", "canceled"]
    outcome: Outcome
    scenarios: tuple[ScenarioResult, ...]
    used: tuple[ModelUse, ...]
    created_at: datetime
    ended_at: datetime | None


class RunSummary(Struct, frozen=True, kw_only=True):
    """A run in a list."""

    id: RunId
    suite_id: SuiteId | None
    suite_name: str
    agent_id: AgentId
    version_id: VersionId
    version_number: int
    mode: Mode
    account: str
    from_number: str
    state: Literal["running", "completed", "canceled"]
    created_at: datetime
    ended_at: datetime | None


class Judged(Struct, frozen=True, kw_only=True):
    """An expectation, and whether it was met."""

    expectation: Expectation
    is_met: bool | None
    why: str


class TrialView(Struct, frozen=True, kw_only=True):
    """One conversation of a run."""

    id: TrialId
    run_id: RunId
    number: int
    scenario: str
    repeat: int
    state: Literal["queued", "talking", "judging", "passed", "failed", "error", "canceled"]
    call_id: CallId | None
    detail: str
    judged: tuple[Judged, ...]
    talk: Talk | None
    used: tuple[ModelUse, ...]
    began_at: datetime | None
    ended_at: datetime | None


class ScenarioChange(Struct, frozen=True, kw_only=True):
    """One scenario in two runs."""

    scenario: str
    change: Literal["fixed", "broken", "better", "worse", "same", "unknown", "added", "removed"]
    before: float | None
    after: float | None


class Comparison(Struct, frozen=True, kw_only=True):
    """Two runs side by side, scenario by scenario."""

    before_id: RunId
    before_version_number: int
    after_id: RunId
    after_version_number: int
    scenarios: tuple[ScenarioChange, ...]


class TurnDifference(Struct, frozen=True, kw_only=True):
    """One turn of a call and of its replay."""

    is_same: bool
    before: TalkTurn | None
    after: TalkTurn | None


class ReplayDifference(Struct, frozen=True, kw_only=True):
    """What has changed from a call to its replay."""

    is_same: bool
    turns: tuple[TurnDifference, ...]
    ended_before: EndedReason
    ended_after: EndedReason
    unmocked: str


class ReplayView(Struct, frozen=True, kw_only=True):
    """A call that is had again, and what has changed."""

    id: ReplayId
    call_id: CallId
    agent_id: AgentId
    version_id: VersionId
    version_number: int
    account: str
    from_number: str
    state: Literal["running", "completed", "failed"]
    detail: str
    replayed_as: CallId | None
    difference: ReplayDifference | None
    created_at: datetime
    ended_at: datetime | None
