"""Usage is summed over the facts in which workers report it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Adds an index over those facts alone."""
    op.create_index(
        "ix_call_events_usage",
        "call_events",
        ["project_id", "at"],
        postgresql_where=sa.text("type = 'usage.reported'"),
    )
