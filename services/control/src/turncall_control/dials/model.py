"""The tables of the dialler: what is to be dialled, and how fast each account may be asked."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKeyConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import SmallInteger

from turncall_control.db.base import Id, Row, Word, created_at
from turncall_proto import ids
from turncall_proto.ids import CallId, ProjectId


class DialState(StrEnum):
    """How far a dial has come. ``asked``: the carrier was, or may have been; if its id of the call is not known yet,
    what came of that is not known either."""

    QUEUED = "queued"
    ASKED = "asked"
    OVER = "over"


class DialRow(Row):
    """The intent to place a call, kept from before the carrier is asked until the call is answered or over.

    ``due_at``: not before then. ``asked_at``: when the carrier was, or was about to be, asked. ``look_at``: when to see
    what became of that. ``priority``: lower ones go first. ``zone``: the time zone of the person called, if it was
    given. ``is_detecting``: the carrier is to find out whether a machine answers. ``is_found``: the carrier's id comes
    from its list of calls, and not from its answer or a webhook.
    """

    __tablename__ = "dials"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "call_id"], ["calls.project_id", "calls.id"], ondelete="cascade"),
        Index(
            "ix_dials_queued",
            "account",
            "project_id",
            "priority",
            "due_at",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("ix_dials_look_at", "look_at", postgresql_where=text("state = 'asked'")),
        Index("ix_dials_project_id_asked_at", "project_id", "asked_at"),
    )

    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    account: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    state: Mapped[DialState] = mapped_column(Word(DialState))
    due_at: Mapped[datetime]
    ring_timeout_s: Mapped[int]
    zone: Mapped[str | None]
    is_detecting: Mapped[bool] = mapped_column(server_default=text("false"))
    asked_at: Mapped[datetime | None]
    look_at: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    is_found: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = created_at()


class DialPaceRow(Row):
    """When an account of the carrier may be asked for the next call. Whoever holds the row dials for the account."""

    __tablename__ = "dial_paces"

    account: Mapped[str] = mapped_column(primary_key=True)
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
