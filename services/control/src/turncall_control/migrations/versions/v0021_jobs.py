"""Jobs for the media plane's pool ``text``."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0021"
down_revision = "0020"

_MOMENT = sa.DateTime(timezone=True)
_OPEN = sa.text("state in ('due', 'sent')")


def upgrade() -> None:
    """Makes the table behind its wall."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("call_id", sa.Uuid),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'due'")),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", _MOMENT),
        sa.Column("detail", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("answer", postgresql.JSONB),
        sa.Column("parcel_key", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_jobs_project_id_projects"),
        sa.CheckConstraint("state in ('due', 'sent', 'done', 'failed')", name="ck_jobs_state"),
    )
    op.create_index("ix_jobs_due_at", "jobs", ["due_at"], postgresql_where=_OPEN)
    op.create_index("ix_jobs_call_id", "jobs", ["call_id", "created_at"])
    op.create_index("ux_jobs_kind_call_id_open", "jobs", ["kind", "call_id"], unique=True, postgresql_where=_OPEN)
    wall("jobs")
