"""What an agent was told of knowledge bases for a message that it wrote."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Adds the column; messages of before were written without any."""
    op.add_column("messages", sa.Column("knowledge", postgresql.JSONB, nullable=False, server_default=sa.text("'[]'")))
