"""Replays of calls."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from turncall_control.migrations.walls import wall

revision = "0044"
down_revision = "0043"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "replays",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("version_id", sa.Uuid, nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("agent", JSONB, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("from_number", sa.Text, nullable=False),
        sa.Column("phone_call_id", sa.Uuid),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'running'")),
        sa.Column("detail", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("difference", JSONB),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_replays"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_replays_project_id_projects"),
        sa.CheckConstraint("state in ('running', 'completed', 'failed')", name="ck_replays_state"),
    )
    op.create_index("ix_replays_call_id", "replays", ["call_id"])
    op.create_index(
        "ix_replays_phone_call_id", "replays", ["phone_call_id"], postgresql_where=sa.text("phone_call_id is not null")
    )
    op.create_index("ix_replays_running", "replays", ["project_id"], postgresql_where=sa.text("state = 'running'"))
    wall("replays")
