"""What a call brings along for its agent, and the index by which calls are found through their metadata."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds a column that older releases do not read, and an index."""
    op.add_column("calls", sa.Column("variables", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'")))
    op.create_index(
        "ix_calls_metadata",
        "calls",
        ["metadata"],
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    )
