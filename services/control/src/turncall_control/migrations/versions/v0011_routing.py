"""What a number does with its calls, and who was decided to answer a call."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Adds the columns; numbers that have one agent are routed to it. Releases before still read ``agent_id``."""
    op.add_column("numbers", sa.Column("settings", postgresql.JSONB))
    op.execute("alter table numbers no force row level security")
    op.execute(
        "update numbers set settings = jsonb_build_object('routing', jsonb_build_object("
        "'kind', 'agent', 'agent_id', 'agt_' || replace(agent_id::text, '-', '')))"
    )
    op.execute("alter table numbers force row level security")
    op.alter_column("numbers", "settings", nullable=False)
    op.alter_column("numbers", "agent_id", nullable=True)
    # A call that no agent was found for has a row too, and so has one whose definition came with it.
    op.alter_column("calls", "agent_id", nullable=True)
    op.alter_column("calls", "version_id", nullable=True)
    op.add_column("calls", sa.Column("variant", sa.Text))
    op.add_column("calls", sa.Column("inline_agent", postgresql.JSONB))
    op.add_column("calls", sa.Column("forwarded_because", sa.Text))
