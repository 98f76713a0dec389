"""When to look for parts of recordings that no worker told of."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Adds a column that older releases do not read; calls that ended before have none due."""
    op.add_column("calls", sa.Column("recording_due", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_calls_recording_due", "calls", ["recording_due"], postgresql_where=sa.text("recording_due is not null")
    )
