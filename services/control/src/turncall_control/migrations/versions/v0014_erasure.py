"""Deleting projects, calls and recordings."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import SYSTEM, wall

revision = "0014"
down_revision = "0013"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds columns that older releases do not read, and the calls that were erased."""
    op.add_column("projects", sa.Column("purge_at", _MOMENT))
    op.create_index(
        "ix_projects_deleted_at", "projects", ["deleted_at"], postgresql_where=sa.text("deleted_at is not null")
    )
    op.add_column("calls", sa.Column("recording_swept_at", _MOMENT))
    op.add_column("calls", sa.Column("recording_deleted_at", _MOMENT))
    op.create_index("ix_calls_project_id_from_number", "calls", ["project_id", "from_number"])
    op.create_index("ix_calls_project_id_to_number", "calls", ["project_id", "to_number"])
    op.create_index(
        "ix_calls_unswept",
        "calls",
        ["project_id", "created_at"],
        postgresql_where=sa.text("recording_swept_at is null and settled_at is not null"),
    )
    op.create_table(
        "erased_calls",
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("erased_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("call_id", name="pk_erased_calls"),
    )
    op.create_index("ix_erased_calls_erased_at", "erased_calls", ["erased_at"])
    wall("erased_calls")
    # Entries outlive a project that is purged, what they told about persons does not.
    op.execute(f"grant update (changes, address) on audit_entries to {SYSTEM}")
