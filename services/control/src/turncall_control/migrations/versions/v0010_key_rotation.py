"""Which key a key was rotated to."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Adds a column that older releases do not read."""
    op.add_column("api_keys", sa.Column("successor_id", sa.Uuid))
