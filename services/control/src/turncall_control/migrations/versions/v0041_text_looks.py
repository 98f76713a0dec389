"""Texts of which the carrier never called back are asked about."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    """Adds how often it was looked, and finds by time whatever is to be looked at."""
    op.add_column("texts", sa.Column("looks", sa.Integer, nullable=False, server_default="0"))
    op.execute("update texts set look_at = null where state <> 'asked'")
    op.drop_index("ix_texts_look_at", "texts")
    op.create_index("ix_texts_look_at", "texts", ["look_at"], postgresql_where=sa.text("look_at is not null"))
