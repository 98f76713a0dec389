"""Messages that an agent on the phone was told of."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    """Adds on which call it was."""
    op.add_column("messages", sa.Column("told_on", sa.Uuid))
    op.create_index("ix_messages_told_on", "messages", ["told_on"], postgresql_where=sa.text("told_on is not null"))
