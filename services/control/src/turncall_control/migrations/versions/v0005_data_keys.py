"""The keys under which projects' secrets are stored, wrapped by the operator's master key."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import API, wall

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Makes the table; users' requests have no right on it at all."""
    op.create_table(
        "data_keys",
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("master", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("project_id", "number", name="pk_data_keys"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_data_keys_project_id_projects"),
    )
    wall("data_keys")
    op.execute(f"revoke all on data_keys from {API}")
