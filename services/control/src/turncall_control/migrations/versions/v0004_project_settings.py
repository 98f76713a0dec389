"""What a project sets for itself."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds a column that older releases do not read."""
    op.add_column(
        "projects", sa.Column("settings", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))
    )
