"""Calls that users ask for: what is to be dialled, and how fast."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import SYSTEM, wall

revision = "0018"
down_revision = "0017"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables; that of the paces belongs to no project, and to background work alone."""
    op.create_table(
        "dials",
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("ring_timeout_s", sa.Integer, nullable=False),
        sa.Column("zone", sa.Text),
        sa.Column("asked_at", _MOMENT),
        sa.Column("look_at", _MOMENT),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("is_found", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("call_id", name="pk_dials"),
        sa.ForeignKeyConstraint(
            ["project_id", "call_id"],
            ["calls.project_id", "calls.id"],
            name="fk_dials_project_id_call_id_calls",
            ondelete="cascade",
        ),
        sa.CheckConstraint("state in ('queued', 'asked', 'over')", name="ck_dials_state"),
    )
    op.create_index(
        "ix_dials_queued",
        "dials",
        ["account", "project_id", "priority", "due_at"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_dials_look_at", "dials", ["look_at"], postgresql_where=sa.text("state = 'asked'"))
    op.create_index("ix_dials_project_id_asked_at", "dials", ["project_id", "asked_at"])
    wall("dials")
    op.create_table(
        "dial_paces",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("next_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("account", name="pk_dial_paces"),
    )
    op.execute(f"grant select, insert, update, delete on dial_paces to {SYSTEM}")
