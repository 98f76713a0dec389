"""Epochs in which another agent goes on, on the stream of the one before."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Adds columns that older releases do not read."""
    op.add_column("epochs", sa.Column("handoff", JSONB))
    op.add_column("epochs", sa.Column("handoff_act", sa.Text))
