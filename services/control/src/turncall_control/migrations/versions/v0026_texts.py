"""Messages to and from phones: their way to the carrier, opt-outs, and sessions that numbers begin."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0026"
down_revision = "0025"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables, each behind its wall, and tells of each message which way it went."""
    _sessions()
    _messages()
    _texts()
    _opt_outs()


def _sessions() -> None:
    op.alter_column("sessions", "agent_id", nullable=True)
    op.alter_column("sessions", "version_id", nullable=True)
    op.add_column("sessions", sa.Column("inline_agent", postgresql.JSONB))
    op.add_column("sessions", sa.Column("variant", sa.Text))
    op.add_column("sessions", sa.Column("knowledge_context", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("sessions", sa.Column("number_id", sa.Uuid))
    op.create_index(
        "ix_sessions_project_id_contact",
        "sessions",
        ["project_id", "contact"],
        postgresql_where=sa.text("state = 'active'"),
    )


def _messages() -> None:
    op.add_column("messages", sa.Column("channel", sa.Text, nullable=False, server_default=sa.text("'chat'")))
    op.add_column("messages", sa.Column("number_id", sa.Uuid))
    op.add_column("messages", sa.Column("origin_id", sa.Text))
    op.add_column("messages", sa.Column("delivery", sa.Text))
    op.add_column("messages", sa.Column("delivery_failure", sa.Text, nullable=False, server_default=sa.text("''")))
    op.create_index(
        "ux_messages_project_id_origin_id",
        "messages",
        ["project_id", "origin_id"],
        unique=True,
        postgresql_where=sa.text("origin_id is not null"),
    )


def _texts() -> None:
    op.create_table(
        "texts",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("message_seq", sa.Integer, nullable=False),
        sa.Column("number_id", sa.Uuid, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("from_number", sa.Text, nullable=False),
        sa.Column("to_number", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'queued'")),
        sa.Column("failure", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("code", sa.Integer),
        sa.Column("provider_message_id", sa.Text),
        sa.Column("due_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("asked_at", _MOMENT),
        sa.Column("look_at", _MOMENT),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_texts"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_texts_project_id_projects"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_texts_session_id_sessions"),
        sa.CheckConstraint(
            "state in ('queued', 'asked', 'accepted', 'sent', 'delivered', 'read', 'failed')", name="ck_texts_state"
        ),
    )
    op.create_index("ix_texts_due_at", "texts", ["due_at"], postgresql_where=sa.text("state = 'queued'"))
    op.create_index("ix_texts_look_at", "texts", ["look_at"], postgresql_where=sa.text("state = 'asked'"))
    op.create_index(
        "ix_texts_open", "texts", ["from_number", "to_number"], postgresql_where=sa.text("state in ('queued', 'asked')")
    )
    op.create_index("ix_texts_session_id_message_seq", "texts", ["session_id", "message_seq"])
    op.create_index("ix_texts_provider_message_id", "texts", ["provider_message_id"])
    wall("texts")


def _opt_outs() -> None:
    op.create_table(
        "opt_outs",
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("number_id", sa.Uuid, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("number_id", "contact", name="pk_opt_outs"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_opt_outs_project_id_projects"),
    )
    wall("opt_outs")
