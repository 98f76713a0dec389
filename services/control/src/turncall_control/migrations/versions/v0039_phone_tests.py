"""Calls of tests, and runs of suites by phone."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Adds the columns; what there is already are calls and runs in writing."""
    op.add_column("calls", sa.Column("mocks", JSONB))
    for name in ("account", "from_number"):
        op.add_column("test_runs", sa.Column(name, sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("test_trials", sa.Column("phone_call_id", sa.Uuid))
    op.create_index(
        "ix_test_trials_phone_call_id",
        "test_trials",
        ["phone_call_id"],
        postgresql_where=sa.text("phone_call_id is not null"),
    )
