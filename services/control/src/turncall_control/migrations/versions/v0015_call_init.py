"""What the project's server said of a call, and how it was decided who answers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Adds columns that older releases do not read; the document of a call's routing is null where it is plain."""
    op.add_column("calls", sa.Column("knowledge_context", sa.Text, nullable=False, server_default=""))
    op.add_column("calls", sa.Column("routing", postgresql.JSONB))
