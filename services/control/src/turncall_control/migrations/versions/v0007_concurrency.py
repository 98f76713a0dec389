"""How many calls an agent and a number may have at a time, and which calls count."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds columns that older releases do not read; the index holds the calls that count, and no others."""
    for table in ("agents", "numbers"):
        op.add_column(table, sa.Column("max_concurrent_calls", sa.Integer))
    op.add_column("calls", sa.Column("is_counted", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.create_index("ix_calls_counted", "calls", ["project_id", "id"], postgresql_where=sa.text("is_counted"))
