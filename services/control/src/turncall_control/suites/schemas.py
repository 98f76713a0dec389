"""Suites, runs and their results as the API takes and shows them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from turncall_control.http.fields import Label, Moment
from turncall_control.routing import E164, AgentRef
from turncall_control.suites.differing import ReplayDifference
from turncall_control.suites.model import ReplayState, RunState, TrialState
from turncall_control.suites.spec import SuiteSpec, Tries
from turncall_proto.agent import VendorRef
from turncall_proto.ids import AgentId, CallId, ReplayId, RunId, SuiteId, TrialId, VersionId
from turncall_proto.job import ModelUse
from turncall_proto.scenario import Expectation, Scenario, Talk

VersionRef = Annotated[VersionId, Meta(pattern=r"^ver_[0-9a-f]{32}$(?!\n)")]
Mode = Literal["text", "phone"]
Outcome = Literal["pending", "passed", "failed", "error", "canceled"]


class SuiteFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A suite as one file, to be kept beside code."""

    name: Annotated[Label, Meta(description="Unique among the project's suites.")]
    description: Annotated[str, Meta(max_length=1000)] = ""
    judge: Annotated[
        VendorRef | None, Meta(description="The model that reads by rubrics; null: the tested agent's own.")
    ] = None
    scenarios: Annotated[tuple[Scenario, ...], Meta(min_length=1, max_length=100)]

    def __post_init__(self) -> None:
        SuiteSpec(judge=self.judge, scenarios=self.scenarios)


class SuiteView(Struct, frozen=True, kw_only=True):
    """A suite."""

    id: SuiteId
    name: str
    description: str
    judge: VendorRef | None
    scenarios: tuple[Scenario, ...]
    created_at: Moment
    changed_at: Moment


class SuiteSummary(Struct, frozen=True, kw_only=True):
    """A suite in a list."""

    id: SuiteId
    name: str
    description: str
    scenarios: Annotated[tuple[str, ...], Meta(description="Their names.")]
    created_at: Moment
    changed_at: Moment


class RunNew(Tries, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to be begun; ``agent_id`` or ``version_id`` says who is tested."""

    agent_id: Annotated[AgentRef | None, Meta(description="Tested in its published version.")] = None
    version_id: Annotated[
        VersionRef | None, Meta(description="A version by name, also a draft, or an archived one to compare with.")
    ] = None
    mode: Annotated[
        Mode,
        Meta(
            description="phone: each conversation is a real call, whose caller is played with sound. It takes a slot "
            "of a worker, and as long as it lasts."
        ),
    ] = "text"
    from_number: Annotated[
        E164 | None,
        Meta(description="By phone: the project's number that calls; null: its oldest one in the test line's account."),
    ] = None


class ScheduleFile(Tries, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a suite is run by itself against an agent's published version."""

    cron: Annotated[
        str,
        Meta(
            min_length=9,
            max_length=120,
            description="Minute, hour, day, month, weekday, as cron reads them.",
            examples=["0 7 * * MON-FRI"],
        ),
    ]
    time_zone: Annotated[
        str, Meta(max_length=64, description="Whose clock that is; an IANA name.", examples=["Europe/Berlin"])
    ] = "UTC"
    is_paused: Annotated[bool, Meta(description="Kept, and not run.")] = False


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
    next_at: Annotated[Moment | None, Meta(description="When it is run next; null while it is paused.")]
    last_run_id: Annotated[RunId | None, Meta(description="The run that it began last.")]
    problem: Annotated[str, Meta(description="Why it began none when it was due last; empty when it did.")]


class ScenarioAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario that is made of a call is to be called."""

    name: Annotated[Label, Meta(description="Unique in the suite that it is for.")]


class ScenarioResult(Struct, frozen=True, kw_only=True):
    """What came of one scenario's conversations."""

    scenario: str
    outcome: Annotated[Outcome, Meta(description="failed before error before pending: one failure is enough.")]
    passed: int
    failed: int
    errors: int
    flake_rate: Annotated[
        float | None,
        Meta(description="Of those that passed or failed, the part that did not do as most did: 0 to 0.5."),
    ]


class RunView(Struct, frozen=True, kw_only=True):
    """A run, with what is known of it by now."""

    id: RunId
    suite_id: Annotated[SuiteId | None, Meta(description="Null once the suite is deleted.")]
    suite_name: str
    agent_id: AgentId
    version_id: VersionId
    version_number: int
    mode: Mode
    account: Annotated[str, Meta(description="The carrier account that calls by phone; empty in writing.")]
    from_number: Annotated[str, Meta(description="The number that calls by phone; empty in writing.")]
    repeats: int
    at_once: int
    state: RunState
    outcome: Outcome
    scenarios: tuple[ScenarioResult, ...]
    used: Annotated[tuple[ModelUse, ...], Meta(description="What agents, callers and judges took of each model.")]
    created_at: Moment
    ended_at: Moment | None


class RunSummary(Struct, frozen=True, kw_only=True):
    """A run in a list."""

    id: RunId
    suite_id: SuiteId | None
    suite_name: str
    agent_id: AgentId
    version_id: VersionId
    version_number: int
    mode: Mode
    account: Annotated[str, Meta(description="The carrier account that calls by phone; empty in writing.")]
    from_number: Annotated[str, Meta(description="The number that calls by phone; empty in writing.")]
    state: RunState
    created_at: Moment
    ended_at: Moment | None


class Judged(Struct, frozen=True, kw_only=True):
    """An expectation, and whether it was met."""

    expectation: Expectation
    is_met: Annotated[bool | None, Meta(description="Null when nobody looked: what failed before was enough.")]
    why: str


class TrialView(Struct, frozen=True, kw_only=True):
    """One conversation of a run."""

    id: TrialId
    run_id: RunId
    number: Annotated[int, Meta(description="Its place in the run, from 1.")]
    scenario: str
    repeat: Annotated[int, Meta(description="Which of the scenario's conversations, from 1.")]
    state: TrialState
    call_id: Annotated[CallId | None, Meta(description="By phone: the call that it is, with its recording.")]
    detail: Annotated[str, Meta(description="Why it failed, or could not be found out.")]
    judged: tuple[Judged, ...]
    talk: Annotated[Talk | None, Meta(description="What was said and done; null before that.")]
    used: tuple[ModelUse, ...]
    began_at: Moment | None
    ended_at: Moment | None


class ScenarioChange(Struct, frozen=True, kw_only=True):
    """One scenario in two runs. A rate is that of the conversations that passed, of those that passed or failed."""

    scenario: str
    change: Annotated[
        Literal["fixed", "broken", "better", "worse", "same", "unknown", "added", "removed"],
        Meta(description="From the earlier run to this one. unknown: one of the two found nothing out."),
    ]
    before: Annotated[float | None, Meta(description="The rate in the earlier run.")]
    after: Annotated[float | None, Meta(description="The rate in this run.")]


class Comparison(Struct, frozen=True, kw_only=True):
    """Two runs side by side, scenario by scenario."""

    before_id: RunId
    before_version_number: int
    after_id: RunId
    after_version_number: int
    scenarios: tuple[ScenarioChange, ...]


class ReplayNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A replay to be begun; ``agent_id`` or ``version_id`` says who the caller speaks with this time."""

    agent_id: Annotated[AgentRef | None, Meta(description="In its published version.")] = None
    version_id: Annotated[VersionRef | None, Meta(description="A version by name, also a draft.")] = None
    from_number: Annotated[
        E164 | None,
        Meta(description="The project's number that calls; null: its oldest one in the test line's account."),
    ] = None


class ReplayView(Struct, frozen=True, kw_only=True):
    """A call that is had again, and what has changed."""

    id: ReplayId
    call_id: CallId
    agent_id: AgentId
    version_id: VersionId
    version_number: int
    account: Annotated[str, Meta(description="The carrier account that calls.")]
    from_number: Annotated[str, Meta(description="The number that calls.")]
    state: ReplayState
    detail: Annotated[str, Meta(description="Why it failed.")]
    replayed_as: Annotated[CallId | None, Meta(description="The call that it is itself, with its recording.")]
    difference: Annotated[
        ReplayDifference | None, Meta(description="From the call to this one; null before it is over.")
    ]
    created_at: Moment
    ended_at: Moment | None
