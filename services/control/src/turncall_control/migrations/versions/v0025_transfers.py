"""Transfers: callers who are being connected to a person."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from turncall_control.migrations.walls import wall

revision = "0025"
down_revision = "0024"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "transfers",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("act_id", sa.Text, nullable=False),
        sa.Column("wanted", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("operator_call", sa.Text),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
        sa.UniqueConstraint("act_id", name="uq_transfers_act_id"),
        sa.ForeignKeyConstraint(
            ["project_id", "call_id"],
            ["calls.project_id", "calls.id"],
            name="fk_transfers_project_id_call_id_calls",
            ondelete="cascade",
        ),
    )
    op.create_index("ix_transfers_call_id", "transfers", ["call_id"])
    op.create_index("ix_transfers_due_at", "transfers", ["due_at"], postgresql_where=sa.text("due_at is not null"))
    wall("transfers")
