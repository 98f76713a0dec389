"""Who has answered a call of ours, and whether the carrier is to find out."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Adds the columns, empty for calls of before."""
    op.add_column("calls", sa.Column("answered_by", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("dials", sa.Column("is_detecting", sa.Boolean, nullable=False, server_default=sa.text("false")))
