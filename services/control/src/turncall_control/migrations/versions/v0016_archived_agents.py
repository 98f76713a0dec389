"""Agents that were taken out of service."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Adds a column that older releases do not read."""
    op.add_column("agents", sa.Column("archived_at", sa.DateTime(timezone=True)))
