"""The table of jobs."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, Word, created_at
from turncall_proto import ids
from turncall_proto.ids import CallId, DocumentId, JobId, ProjectId, SessionId


class JobState(StrEnum):
    """Where a job stands. The last two are final."""

    DUE = "due"
    """To be sent."""
    SENT = "sent"
    """On its way or being worked on; sent again when no answer comes."""
    DONE = "done"
    FAILED = "failed"


class JobRow(Row):
    """One job. ``due_at`` is when it is to be sent, or sent again; ``answer`` what came back, as the contract has it.

    ``parcel_key`` is where it lies in the object store while it is on its way, if it was too large to travel.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_due_at", "due_at", postgresql_where=text("state in ('due', 'sent')")),
        Index("ix_jobs_call_id", "call_id", "created_at"),
        Index(
            "ux_jobs_kind_session_id_open",
            "kind",
            "session_id",
            unique=True,
            postgresql_where=text("state in ('due', 'sent')"),
        ),
        Index(
            "ux_jobs_kind_document_id_open",
            "kind",
            "document_id",
            unique=True,
            postgresql_where=text("state in ('due', 'sent')"),
        ),
        Index(
            "ux_jobs_kind_call_id_open",
            "kind",
            "call_id",
            unique=True,
            postgresql_where=text("state in ('due', 'sent')"),
        ),
    )

    id: Mapped[JobId] = mapped_column(Id(ids.JOB), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    kind: Mapped[str]
    call_id: Mapped[CallId | None] = mapped_column(Id(ids.CALL))
    session_id: Mapped[SessionId | None] = mapped_column(Id(ids.SESSION))
    document_id: Mapped[DocumentId | None] = mapped_column(Id(ids.DOCUMENT))
    state: Mapped[JobState] = mapped_column(Word(JobState), server_default=text("'due'"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    due_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    ended_at: Mapped[datetime | None]
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    parcel_key: Mapped[str | None]
    created_at: Mapped[datetime] = created_at()
