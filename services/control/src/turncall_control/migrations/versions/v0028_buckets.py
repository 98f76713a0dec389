"""Buckets of projects: one credential for each, and what is to be done about calls' sound in it."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import wall

revision = "0028"
down_revision = "0027"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the table, and room for one bucket among a project's credentials."""
    op.execute("alter table credentials drop constraint ck_credentials_ck_credentials_kind")
    op.create_check_constraint("kind", "credentials", "kind in ('vendor', 'twilio', 's3')")
    op.create_index("one_bucket", "credentials", ["project_id"], unique=True, postgresql_where=sa.text("kind = 's3'"))
    op.create_table(
        "bucket_chores",
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("erases", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("looks", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("call_id", name="pk_bucket_chores"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_bucket_chores_project_id_projects"),
    )
    op.create_index("ix_bucket_chores_due_at", "bucket_chores", ["due_at"])
    op.create_index("ix_bucket_chores_project_id", "bucket_chores", ["project_id"])
    wall("bucket_chores")
