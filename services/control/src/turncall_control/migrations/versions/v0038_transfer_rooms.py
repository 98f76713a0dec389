"""Transfers: what the carrier told of the room in which caller and person meet."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Adds the statements that came."""
    op.add_column("transfers", sa.Column("told", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")))
