"""What comes with messages beside their words."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    """Adds the list of it."""
    op.add_column("messages", sa.Column("attachments", JSONB, nullable=False, server_default=sa.text("'[]'")))
