"""The tables of messages to phones, and of people who want none."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.carriers.base import Template
from turncall_control.db.base import Id, Row, StructJson, Word, created_at
from turncall_proto import ids
from turncall_proto.ids import NumberId, ProjectId, SessionId, TextId


class TextState(StrEnum):
    """How far a text has come; a carrier's word never takes it back. ``asked``: the carrier was, or may have been."""

    QUEUED = "queued"
    ASKED = "asked"
    ACCEPTED = "accepted"
    """The carrier has it."""
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"


class TextFailure(StrEnum):
    """Why a text did not arrive."""

    OPTED_OUT = "opted_out"
    INVALID_NUMBER = "invalid_number"
    """There is no such number, or it is one that takes no messages."""
    UNREACHABLE = "unreachable"
    """The phone is off, or its network does not find it."""
    BLOCKED = "blocked"
    """A network or the carrier holds it for spam, or does not let our number write there."""
    NOT_ALLOWED = "not_allowed"
    """The account may not write to this number or this country, or not from this number."""
    WINDOW_CLOSED = "window_closed"
    """The contact has not written for so long that only a template may be sent."""
    CARRIER_LIMIT = "carrier_limit"
    REFUSED = "refused"
    LOST = "lost"
    """The carrier's answer was lost, and it knows of no such message."""
    NO_ACCOUNT = "no_account"
    """The carrier's account that the number is in is not among the credentials."""
    UNKNOWN = "unknown"


class TextRow(Row):
    """One text: a message of a session, or a part of a long one, on its way to a phone. A ``template`` is sent in place
    of the body.

    The intent is stored before the carrier is asked. ``asked_at``: when it was, or was about to be, asked. ``look_at``:
    when to see what became of that, and then, ``looks`` times so far, whether it has arrived.
    """

    __tablename__ = "texts"
    __table_args__ = (
        Index("ix_texts_due_at", "due_at", postgresql_where=text("state = 'queued'")),
        Index("ix_texts_look_at", "look_at", postgresql_where=text("look_at is not null")),
        Index("ix_texts_open", "from_number", "to_number", postgresql_where=text("state in ('queued', 'asked')")),
        Index("ix_texts_session_id_message_seq", "session_id", "message_seq"),
        Index("ix_texts_provider_message_id", "provider_message_id"),
    )

    id: Mapped[TextId] = mapped_column(Id(ids.TEXT), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    session_id: Mapped[SessionId] = mapped_column(Id(ids.SESSION), ForeignKey("sessions.id"))
    message_seq: Mapped[int]
    number_id: Mapped[NumberId] = mapped_column(Id(ids.NUMBER))
    provider: Mapped[str]
    account: Mapped[str]
    from_number: Mapped[str]
    to_number: Mapped[str]
    body: Mapped[str]
    template: Mapped[Template | None] = mapped_column(StructJson(Template))
    state: Mapped[TextState] = mapped_column(Word(TextState), server_default=text("'queued'"))
    failure: Mapped[str] = mapped_column(server_default=text("''"))
    code: Mapped[int | None]
    provider_message_id: Mapped[str | None]
    due_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    asked_at: Mapped[datetime | None]
    look_at: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    looks: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = created_at()


class OptOutRow(Row):
    """A person who wants no messages from a number."""

    __tablename__ = "opt_outs"

    number_id: Mapped[NumberId] = mapped_column(Id(ids.NUMBER), primary_key=True)
    contact: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    created_at: Mapped[datetime] = created_at()
