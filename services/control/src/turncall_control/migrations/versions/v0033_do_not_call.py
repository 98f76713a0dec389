"""Numbers that are not called."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import wall

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "do_not_call",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("listed_by", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_do_not_call"),
        sa.UniqueConstraint("project_id", "number", name="uq_do_not_call_project_id_number"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_do_not_call_project_id_projects"),
        sa.CheckConstraint("listed_by in ('api', 'person')", name="ck_do_not_call_listed_by"),
    )
    wall("do_not_call")
