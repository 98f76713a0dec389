"""The tables of sessions and of their messages."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, StructJson, Word, created_at
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId, JobId, MessageId, NumberId, ProjectId, SessionId, VersionId


class SessionState(StrEnum):
    """Where a session stands; the last two are final."""

    ACTIVE = "active"
    ENDED = "ended"
    EXPIRED = "expired"


class Author(StrEnum):
    """Who wrote a message. An operator is a person who writes in the agent's place."""

    CONTACT = "contact"
    AGENT = "agent"
    OPERATOR = "operator"


class SessionRow(Row):
    """A conversation of one contact with one agent, on whatever channels; what a user's server defines has no agent.

    ``channel`` is the one on which the contact wrote last, and ``number_id`` our number there, if it has one: answers
    go that way. ``variant`` is the one of the number's routing that the contact fell to.
    ``message_count`` numbers its messages; ``summary`` stands for those up to ``summarised_through``, and the agent
    knew those up to ``answered_through`` when it answered last. While it ``is_taken_over`` the agent is silent.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_project_id_id", "project_id", "id"),
        Index("ix_sessions_project_id_contact", "project_id", "contact"),
        Index("ix_sessions_expires_at", "expires_at", postgresql_where=sql("state = 'active'")),
    )

    id: Mapped[SessionId] = mapped_column(Id(ids.SESSION), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    agent_id: Mapped[AgentId | None] = mapped_column(Id(ids.AGENT))
    version_id: Mapped[VersionId | None] = mapped_column(Id(ids.VERSION))
    inline_agent: Mapped[AgentSpec | None] = mapped_column(StructJson(AgentSpec))
    variant: Mapped[str | None]
    channel: Mapped[str]
    number_id: Mapped[NumberId | None] = mapped_column(Id(ids.NUMBER))
    contact: Mapped[str]
    state: Mapped[SessionState] = mapped_column(Word(SessionState), server_default=sql("'active'"))
    is_taken_over: Mapped[bool] = mapped_column(server_default=sql("false"))
    variables: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=sql("'{}'"))
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata", JSONB, server_default=sql("'{}'"))
    knowledge_context: Mapped[str] = mapped_column(server_default=sql("''"))
    summary: Mapped[str] = mapped_column(server_default=sql("''"))
    summarised_through: Mapped[int] = mapped_column(server_default=sql("0"))
    answered_through: Mapped[int] = mapped_column(server_default=sql("0"))
    message_count: Mapped[int] = mapped_column(server_default=sql("0"))
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = created_at()


class MessageRow(Row):
    """One message. ``tools`` and ``used`` are what the agent's answer took; ``failure`` is why nobody answered it.

    ``job_id`` is the turn that wrote it: an answer that comes twice is one message. ``answers`` is the last message
    that the agent knew of then. ``channel`` and ``number_id``, a number of ours, are the way it went;
    ``origin_id`` is the carrier's id of one that the contact sent. One that was spoken was so on ``call_id``; of one
    that was written, the agent on ``told_on`` was told; ``attachments`` came with it. ``delivery`` is how far one that
    went to a phone has come, and ``delivery_failure`` why it did not arrive.
    """

    __tablename__ = "messages"
    __table_args__ = (
        Index(
            "ux_messages_project_id_origin_id",
            "project_id",
            "origin_id",
            unique=True,
            postgresql_where=sql("origin_id is not null"),
        ),
        Index("ix_messages_call_id", "call_id", postgresql_where=sql("call_id is not null")),
        Index("ix_messages_told_on", "told_on", postgresql_where=sql("told_on is not null")),
    )

    session_id: Mapped[SessionId] = mapped_column(Id(ids.SESSION), ForeignKey("sessions.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[MessageId] = mapped_column(Id(ids.MESSAGE))
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    author: Mapped[Author] = mapped_column(Word(Author))
    text: Mapped[str]
    tools: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sql("'[]'"))
    used: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sql("'[]'"))
    knowledge: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sql("'[]'"))
    job_id: Mapped[JobId | None] = mapped_column(Id(ids.JOB), unique=True)
    answers: Mapped[int | None]
    failure: Mapped[str] = mapped_column(server_default=sql("''"))
    channel: Mapped[str] = mapped_column(server_default=sql("'chat'"))
    number_id: Mapped[NumberId | None] = mapped_column(Id(ids.NUMBER))
    origin_id: Mapped[str | None]
    call_id: Mapped[CallId | None] = mapped_column(Id(ids.CALL))
    told_on: Mapped[CallId | None] = mapped_column(Id(ids.CALL))
    attachments: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sql("'[]'"))
    delivery: Mapped[str | None]
    delivery_failure: Mapped[str] = mapped_column(server_default=sql("''"))
    created_at: Mapped[datetime] = created_at()


class SessionCallRow(Row):
    """A phone call that is a leg of a session: what was said on it is among the session's messages."""

    __tablename__ = "session_calls"
    __table_args__ = (Index("ix_session_calls_session_id", "session_id"),)

    call_id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(Id(ids.SESSION), ForeignKey("sessions.id"))
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
