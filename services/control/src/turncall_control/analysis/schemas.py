"""Analyses as the API shows them."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment
from turncall_control.jobs.model import JobState
from turncall_proto.ids import JobId, SessionId
from turncall_proto.job import Findings, ModelUse


class AnalysisView(Struct, frozen=True, kw_only=True):
    """One reading of a conversation."""

    id: JobId
    state: Annotated[JobState, Meta(description="due and sent: it is under way.")]
    created_at: Moment
    ended_at: Moment | None
    findings: Annotated[Findings | None, Meta(description="Null until it is done.")]
    detail: Annotated[str, Meta(description="Why it failed.")]
    used: Annotated[tuple[ModelUse, ...], Meta(description="What it took of each model.")]


class SessionAnalysed(Struct, frozen=True, kw_only=True):
    """What subscribers are told when a session was read: `analysis.completed` without a call."""

    session_id: SessionId
    analysis_id: JobId
    is_ok: bool
    findings: Annotated[Findings | None, Meta(description="Null when it failed.")]
    detail: str


class SessionAnalyses(Struct, frozen=True, kw_only=True):
    """The readings of a session, newest first; twenty at most."""

    analyses: tuple[AnalysisView, ...]


class CallAnalyses(Struct, frozen=True, kw_only=True):
    """The readings of a call, newest first; twenty at most."""

    analyses: tuple[AnalysisView, ...]
