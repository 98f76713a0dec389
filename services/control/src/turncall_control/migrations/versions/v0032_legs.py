"""Phone calls as legs of sessions."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import wall

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Says of which session a call is a leg, and of each message that was spoken on which call."""
    op.create_table(
        "session_calls",
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("call_id", name="pk_session_calls"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_session_calls_session_id_sessions"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_session_calls_project_id_projects"),
    )
    op.create_index("ix_session_calls_session_id", "session_calls", ["session_id"])
    wall("session_calls")
    op.add_column("messages", sa.Column("call_id", sa.Uuid))
    op.create_index("ix_messages_call_id", "messages", ["call_id"], postgresql_where=sa.text("call_id is not null"))
