"""Client tokens: what a web page shows instead of a key."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from turncall_control.migrations.walls import wall

revision = "0036"
down_revision = "0035"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "client_tokens",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("key_id", sa.Uuid, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("wanted", JSONB, nullable=False),
        sa.Column("max_duration_s", sa.Integer),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_client_tokens"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_client_tokens_project_id_projects"),
    )
    op.create_index("ix_client_tokens_expires_at", "client_tokens", ["expires_at"])
    op.create_index("ix_client_tokens_project_id", "client_tokens", ["project_id"])
    wall("client_tokens")
