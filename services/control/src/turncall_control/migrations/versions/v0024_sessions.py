"""Conversations in writing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0024"
down_revision = "0023"

_MOMENT = sa.DateTime(timezone=True)
_OPEN = sa.text("state in ('due', 'sent')")


def upgrade() -> None:
    """Makes the tables, each behind its wall; a job may be a session's."""
    _sessions()
    _messages()
    op.add_column("jobs", sa.Column("session_id", sa.Uuid))
    op.create_index("ux_jobs_kind_session_id_open", "jobs", ["kind", "session_id"], unique=True, postgresql_where=_OPEN)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, _MOMENT, nullable=False, server_default=sa.func.now())


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("version_id", sa.Uuid, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'active'")),
        sa.Column("is_taken_over", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("variables", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("metadata", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("summary", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("summarised_through", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("answered_through", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("message_count", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_sessions_project_id_projects"),
        sa.CheckConstraint("state in ('active', 'ended', 'expired')", name="ck_sessions_state"),
    )
    op.create_index("ix_sessions_project_id_id", "sessions", ["project_id", "id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], postgresql_where=sa.text("state = 'active'"))
    wall("sessions")


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("tools", postgresql.JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("used", postgresql.JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("job_id", sa.Uuid),
        sa.Column("answers", sa.Integer),
        sa.Column("failure", sa.Text, nullable=False, server_default=sa.text("''")),
        _now("created_at"),
        sa.PrimaryKeyConstraint("session_id", "seq", name="pk_messages"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_messages_session_id_sessions"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_messages_project_id_projects"),
        sa.UniqueConstraint("job_id", name="uq_messages_job_id"),
        sa.CheckConstraint("author in ('contact', 'agent', 'operator')", name="ck_messages_author"),
    )
    wall("messages")
