"""The tables of calls: the call, its facts, its epochs, what carriers called back with."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint, desc, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Integer, LargeBinary

from turncall_control.db.base import Id, Row, StructJson, Word, created_at
from turncall_control.routing import Decision
from turncall_control.trail import PRIVATE
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId
from turncall_proto.mock import ToolMock


class CallRow(Row):
    """A call. From ``status`` to ``event_count`` the columns are what `ledger` folds facts into.

    ``answer`` is the document that the carrier's first webhook got. ``over_at``: the first final word reached us;
    ``concluded_at``: the last word was stated; ``settled_at``: nothing is awaited any more. ``hang_up_due``: when to
    see to it next that an intended end happens. ``left_epoch``: the last epoch that control has taken the call away
    from. ``looked_at``: when the reaper last took the call up. ``is_counted``: it counts against the limits of calls.
    ``recording_due``: when to look next for parts of a recording that no worker told of.
    ``recording_swept_at``: its recording was due for deletion; ``recording_deleted_at``: and there was one.
    ``inline_agent``: a definition that came with the call; with neither that nor a version, no agent was found for it.
    ``routing``: how it was decided who answers, where that was not plain.
    ``answered_by``: who answered a call of ours, in the carrier's words, empty unless it was to find out.
    ``forwarded_because``: why a person was given the call.
    ``mocks``: a call of a test, whose agent's tools these answer for; null for every other call.
    """

    __tablename__ = "calls"
    __table_args__ = (
        UniqueConstraint("provider", "account", "provider_call_id"),
        UniqueConstraint("project_id", "id"),
        ForeignKeyConstraint(["project_id", "agent_id"], ["agents.project_id", "agents.id"]),
        Index("ix_calls_project_id_created_at_id", "project_id", desc("created_at"), desc("id")),
        Index("ix_calls_over_at", "over_at", postgresql_where=text("over_at is not null and settled_at is null")),
        Index("ix_calls_counted", "project_id", "id", postgresql_where=text("is_counted")),
        Index("ix_calls_project_id_from_number", "project_id", "from_number"),
        Index("ix_calls_project_id_to_number", "project_id", "to_number"),
        Index(
            "ix_calls_unswept",
            "project_id",
            "created_at",
            postgresql_where=text("recording_swept_at is null and settled_at is not null"),
        ),
        Index("ix_calls_live", "created_at", postgresql_where=text("over_at is null")),
        Index(
            "ix_calls_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
        ),
        Index("ix_calls_recording_due", "recording_due", postgresql_where=text("recording_due is not null")),
        Index("ix_calls_hang_up_due", "hang_up_due", postgresql_where=text("hang_up_due is not null")),
    )

    id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    agent_id: Mapped[AgentId | None] = mapped_column(Id(ids.AGENT))
    version_id: Mapped[VersionId | None] = mapped_column(Id(ids.VERSION), ForeignKey("agent_versions.id"))
    inline_agent: Mapped[AgentSpec | None] = mapped_column(StructJson(AgentSpec))
    variant: Mapped[str | None]
    number_id: Mapped[NumberId | None] = mapped_column(Id(ids.NUMBER))
    channel: Mapped[str]
    direction: Mapped[str]
    from_number: Mapped[str]
    to_number: Mapped[str]
    provider: Mapped[str]
    account: Mapped[str]
    provider_call_id: Mapped[str | None]
    variables: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=text("'{}'"))
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata", JSONB, server_default=text("'{}'"))
    knowledge_context: Mapped[str] = mapped_column(server_default=text("''"), info=PRIVATE)
    routing: Mapped[Decision | None] = mapped_column(StructJson(Decision))
    created_at: Mapped[datetime] = created_at()

    status: Mapped[CallState] = mapped_column(Word(CallState))
    ended_reason: Mapped[EndedReason | None] = mapped_column(Word(EndedReason))
    epoch: Mapped[int] = mapped_column(server_default=text("0"))
    live_mark: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{0,0}'"))
    end_mark: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{0,0,0}'"))
    reason_mark: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{0,0,0}'"))
    end_intended: Mapped[bool] = mapped_column(server_default=text("false"))
    answered_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    carrier_duration_s: Mapped[int | None]
    control_seq: Mapped[int] = mapped_column(server_default=text("0"))
    event_count: Mapped[int] = mapped_column(server_default=text("0"))

    answer: Mapped[str | None]
    over_at: Mapped[datetime | None]
    concluded_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    missing_events: Mapped[int] = mapped_column(server_default=text("0"))
    hang_up_due: Mapped[datetime | None]
    hang_up_tries: Mapped[int] = mapped_column(server_default=text("0"))
    is_counted: Mapped[bool] = mapped_column(server_default=text("false"))
    left_epoch: Mapped[int] = mapped_column(server_default=text("0"))
    looked_at: Mapped[datetime | None]
    recording_due: Mapped[datetime | None]
    recording_swept_at: Mapped[datetime | None]
    recording_deleted_at: Mapped[datetime | None]
    forwarded_because: Mapped[str | None]
    answered_by: Mapped[str] = mapped_column(server_default=text("''"))
    mocks: Mapped[tuple[ToolMock, ...] | None] = mapped_column(StructJson(tuple[ToolMock, ...]), info=PRIVATE)


class CallEventRow(Row):
    """A fact about a call, as it was stated. ``call_seq`` is its place in the order that users see.

    No foreign key: it would be checked for each row of the projector's batches, which hold the calls' rows locked.
    """

    __tablename__ = "call_events"
    __table_args__ = (
        UniqueConstraint("call_id", "call_seq"),
        Index("ix_call_events_usage", "project_id", "at", postgresql_where=text("type = 'usage.reported'")),
    )

    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    call_seq: Mapped[int]
    type: Mapped[str]
    at: Mapped[datetime]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)


class EpochRow(Row):
    """An epoch of a call: who serves it, and how many of its facts are stored against how many exist.

    ``next_answer`` is the document that the carrier got when it asked what comes after this epoch, ``asked_at`` when it
    asked first. ``lost_at`` and ``lost_cause`` are those of the next epoch's `Resume`. ``redirect_due``: when to have
    the carrier ask, because it may not do so by itself; ``redirected_at``: when that was done last. ``handoff``:
    another agent serves it on the stream of the epoch before, because of the question ``handoff_act``.
    """

    __tablename__ = "epochs"
    __table_args__ = (
        Index("ix_epochs_redirected_at", "redirected_at", postgresql_where=text("redirected_at is not null")),
        Index("ix_epochs_redirect_due", "redirect_due", postgresql_where=text("redirect_due is not null")),
        ForeignKeyConstraint(["call_id"], ["calls.id"], ondelete="cascade"),
    )

    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    worker: Mapped[str | None]
    opened_at: Mapped[datetime | None]
    closed_seq: Mapped[int | None]
    seen: Mapped[int] = mapped_column(server_default=text("0"))
    known_seq: Mapped[int] = mapped_column(server_default=text("0"))
    next_answer: Mapped[str | None]
    lost_at: Mapped[datetime | None]
    lost_cause: Mapped[str | None]
    asked_at: Mapped[datetime | None]
    redirect_due: Mapped[datetime | None]
    redirected_at: Mapped[datetime | None]
    redirect_tries: Mapped[int] = mapped_column(server_default=text("0"))
    handoff: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    handoff_act: Mapped[str | None]


class TransferRow(Row):
    """A caller who is being connected to a person: see `turncall_control.calls.transfers` for its states.

    ``due_at``: when to have the carrier do the next step, or to give up. ``operator_call`` is the carrier's id of the
    leg to the person in a warm transfer, empty while it is asked for. ``told``: which statements about their room came.
    """

    __tablename__ = "transfers"
    __table_args__ = (
        ForeignKeyConstraint(["call_id"], ["calls.id"], ondelete="cascade"),
        UniqueConstraint("act_id"),
        Index("ix_transfers_call_id", "call_id"),
        Index("ix_transfers_due_at", "due_at", postgresql_where=text("due_at is not null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL))
    epoch: Mapped[int]
    act_id: Mapped[str]
    wanted: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str]
    outcome: Mapped[str | None]
    operator_call: Mapped[str | None]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    due_at: Mapped[datetime | None]
    told: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    created_at: Mapped[datetime] = created_at()


class CarrierCallbackRow(Row):
    """A callback that was taken in, by the hash of what it said: a repeat is known by it."""

    __tablename__ = "carrier_callbacks"
    __table_args__ = (ForeignKeyConstraint(["call_id"], ["calls.id"], ondelete="cascade"),)

    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    received_at: Mapped[datetime] = created_at()


class BucketChoreRow(Row):
    """What is to be done about a call's sound in its project's own bucket: moved there, or erased there.

    It refers to no call, since it outlives an erased one. ``looks``: how often what is to be moved was looked for.
    """

    __tablename__ = "bucket_chores"
    __table_args__ = (Index("ix_bucket_chores_due_at", "due_at"), Index("ix_bucket_chores_project_id", "project_id"))

    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    erases: Mapped[bool] = mapped_column(server_default=text("false"))
    looks: Mapped[int] = mapped_column(server_default=text("0"))
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ErasedCallRow(Row):
    """A call that was erased: what still comes of it is dropped. It refers to nothing, and outlives its project."""

    __tablename__ = "erased_calls"
    __table_args__ = (Index("ix_erased_calls_erased_at", "erased_at"),)

    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    erased_at: Mapped[datetime] = created_at()
