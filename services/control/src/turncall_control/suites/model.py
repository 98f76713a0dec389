"""The tables of suites, of their runs, and of the trials that a run consists of."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ForeignKey, Index
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, StructJson, Word, created_at
from turncall_control.suites.differing import ReplayDifference
from turncall_control.suites.spec import SuiteSpec, Tries
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId, JobId, ProjectId, ReplayId, RunId, SuiteId, TrialId, VersionId
from turncall_proto.scenario import Talk


class RunState(StrEnum):
    """Where a run stands; the last two are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELED = "canceled"


class TrialState(StrEnum):
    """Where a trial stands."""

    QUEUED = "queued"
    TALKING = "talking"
    JUDGING = "judging"
    """A model reads the conversation."""
    PASSED = "passed"
    FAILED = "failed"
    """An expectation was not met."""
    ERROR = "error"
    """It could not be found out: a vendor failed, a judge made no sense, a tool was used that has no mock."""
    CANCELED = "canceled"


class ReplayState(StrEnum):
    """Where a replay stands; the last two are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """It was not had, or not to its end."""


UNDER_WAY: Final = frozenset({TrialState.TALKING, TrialState.JUDGING})


class SuiteRow(Row):
    """A suite."""

    __tablename__ = "test_suites"
    __table_args__ = (Index("ux_test_suites_project_id_name", "project_id", "name", unique=True),)

    id: Mapped[SuiteId] = mapped_column(Id(ids.SUITE), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    name: Mapped[str]
    description: Mapped[str]
    spec: Mapped[SuiteSpec] = mapped_column(StructJson(SuiteSpec))
    changed_at: Mapped[datetime] = mapped_column(server_default=sql("now()"))
    created_at: Mapped[datetime] = created_at()


class RunRow(Row):
    """One run of a suite against one version. ``spec`` and ``agent`` are what they were when it began: what is changed
    or deleted meanwhile changes nothing of it. ``account`` is the carrier's, ``from_number`` who calls, if by phone."""

    __tablename__ = "test_runs"
    __table_args__ = (
        Index("ix_test_runs_project_id_id", "project_id", "id"),
        Index("ix_test_runs_state", "state", postgresql_where=sql("state = 'running'")),
    )

    id: Mapped[RunId] = mapped_column(Id(ids.RUN), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    suite_id: Mapped[SuiteId | None] = mapped_column(Id(ids.SUITE))
    suite_name: Mapped[str]
    agent_id: Mapped[AgentId] = mapped_column(Id(ids.AGENT))
    version_id: Mapped[VersionId] = mapped_column(Id(ids.VERSION))
    version_number: Mapped[int]
    spec: Mapped[SuiteSpec] = mapped_column(StructJson(SuiteSpec))
    agent: Mapped[AgentSpec] = mapped_column(StructJson(AgentSpec))
    mode: Mapped[str]
    account: Mapped[str] = mapped_column(server_default=sql("''"))
    from_number: Mapped[str] = mapped_column(server_default=sql("''"))
    repeats: Mapped[int]
    at_once: Mapped[int]
    state: Mapped[RunState] = mapped_column(Word(RunState), server_default=sql("'running'"))
    created_at: Mapped[datetime] = created_at()
    ended_at: Mapped[datetime | None]


class TrialRow(Row):
    """One conversation of a run. ``number`` counts them from 1, ``repeat`` those of one scenario.

    ``job_id`` is the job under way, ``phone_call_id`` the call that a trial by phone is. ``judged`` are its
    expectations with what came of them.
    """

    __tablename__ = "test_trials"
    __table_args__ = (
        Index("ux_test_trials_run_id_number", "run_id", "number", unique=True),
        Index("ix_test_trials_phone_call_id", "phone_call_id", postgresql_where=sql("phone_call_id is not null")),
        Index("ix_test_trials_job_id", "job_id", postgresql_where=sql("job_id is not null")),
    )

    id: Mapped[TrialId] = mapped_column(Id(ids.TRIAL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    run_id: Mapped[RunId] = mapped_column(Id(ids.RUN), ForeignKey("test_runs.id", ondelete="cascade"))
    number: Mapped[int]
    scenario: Mapped[str]
    repeat: Mapped[int]
    state: Mapped[TrialState] = mapped_column(Word(TrialState), server_default=sql("'queued'"))
    job_id: Mapped[JobId | None] = mapped_column(Id(ids.JOB))
    phone_call_id: Mapped[CallId | None] = mapped_column(Id(ids.CALL))
    detail: Mapped[str] = mapped_column(server_default=sql("''"))
    talk: Mapped[Talk | None] = mapped_column(StructJson(Talk))
    judged: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sql("'[]'"))
    used: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sql("'[]'"))
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class ScheduleRow(Row):
    """When a suite is run by itself against an agent. ``next_at`` is null while it is paused."""

    __tablename__ = "test_schedules"
    __table_args__ = (
        Index("ix_test_schedules_next_at", "next_at", postgresql_where=sql("next_at is not null")),
        Index("ix_test_schedules_project_id", "project_id"),
    )

    suite_id: Mapped[SuiteId] = mapped_column(
        Id(ids.SUITE), ForeignKey("test_suites.id", ondelete="cascade"), primary_key=True
    )
    agent_id: Mapped[AgentId] = mapped_column(
        Id(ids.AGENT), ForeignKey("agents.id", ondelete="cascade"), primary_key=True
    )
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    cron: Mapped[str]
    time_zone: Mapped[str]
    tries: Mapped[Tries] = mapped_column(StructJson(Tries))
    next_at: Mapped[datetime | None]
    last_run_id: Mapped[RunId | None] = mapped_column(Id(ids.RUN))
    problem: Mapped[str] = mapped_column(server_default=sql("''"))
    created_at: Mapped[datetime] = created_at()


class ReplayRow(Row):
    """A call that is had again with another version, and what has changed. It is erased with that call, ``call_id``;
    ``phone_call_id`` is the call that it is itself. ``agent`` is what the version was when it began."""

    __tablename__ = "replays"
    __table_args__ = (
        Index("ix_replays_call_id", "call_id"),
        Index("ix_replays_phone_call_id", "phone_call_id", postgresql_where=sql("phone_call_id is not null")),
        Index("ix_replays_running", "project_id", postgresql_where=sql("state = 'running'")),
    )

    id: Mapped[ReplayId] = mapped_column(Id(ids.REPLAY), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL))
    agent_id: Mapped[AgentId] = mapped_column(Id(ids.AGENT))
    version_id: Mapped[VersionId] = mapped_column(Id(ids.VERSION))
    version_number: Mapped[int]
    agent: Mapped[AgentSpec] = mapped_column(StructJson(AgentSpec))
    account: Mapped[str]
    from_number: Mapped[str]
    phone_call_id: Mapped[CallId | None] = mapped_column(Id(ids.CALL))
    state: Mapped[ReplayState] = mapped_column(Word(ReplayState), server_default=sql("'running'"))
    detail: Mapped[str] = mapped_column(server_default=sql("''"))
    difference: Mapped[ReplayDifference | None] = mapped_column(StructJson(ReplayDifference))
    created_at: Mapped[datetime] = created_at()
    ended_at: Mapped[datetime | None]
