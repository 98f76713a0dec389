"""Changes of configuration that are not told yet."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import wall

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Adds a table that older releases do not write, so that what they change is known when caches expire."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_created_at", "outbox", ["created_at"])
    wall("outbox")
