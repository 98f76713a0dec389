"""Calls that go on with another worker: what was left behind, when, why, and who is to be asked about it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds columns that older releases do not read, and indexes over the few rows that are looked for."""
    op.add_column("calls", sa.Column("left_epoch", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("calls", sa.Column("looked_at", _MOMENT))
    op.create_index("ix_calls_live", "calls", ["created_at"], postgresql_where=sa.text("over_at is null"))
    for column in (
        sa.Column("lost_at", _MOMENT),
        sa.Column("lost_cause", sa.Text),
        sa.Column("asked_at", _MOMENT),
        sa.Column("redirect_due", _MOMENT),
        sa.Column("redirected_at", _MOMENT),
        sa.Column("redirect_tries", sa.Integer, nullable=False, server_default=sa.text("0")),
    ):
        op.add_column("epochs", column)
    op.create_index(
        "ix_epochs_redirected_at",
        "epochs",
        ["redirected_at"],
        postgresql_where=sa.text("redirected_at is not null"),
    )
    due = sa.text("redirect_due is not null")
    op.create_index("ix_epochs_redirect_due", "epochs", ["redirect_due"], postgresql_where=due)
