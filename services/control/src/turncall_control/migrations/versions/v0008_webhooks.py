"""Webhook subscriptions, and what is delivered to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0008"
down_revision = "0007"

_MOMENT = sa.DateTime(timezone=True)
_PENDING = sa.text("status = 'pending'")


def upgrade() -> None:
    """Makes the tables, each behind its wall."""
    _webhooks()
    _deliveries()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, _MOMENT, nullable=False, server_default=sa.func.now())


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("event_types", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("agent_id", sa.Uuid),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("disabled_reason", sa.Text),
        sa.Column("disabled_at", _MOMENT),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("previous_secret", sa.LargeBinary),
        sa.Column("previous_until", _MOMENT),
        sa.Column("paused_until", _MOMENT),
        sa.Column("last_delivered_at", _MOMENT),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_webhooks_project_id_projects"),
        sa.ForeignKeyConstraint(
            ["project_id", "agent_id"],
            ["agents.project_id", "agents.id"],
            name="fk_webhooks_project_id_agent_id_agents",
        ),
        sa.CheckConstraint("disabled_reason in ('gone', 'failing')", name="ck_webhooks_disabled_reason"),
    )
    op.create_index("ix_webhooks_project_id_id", "webhooks", ["project_id", "id"])
    wall("webhooks")


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("webhook_id", sa.Uuid),
        sa.Column("agent_id", sa.Uuid),
        sa.Column("target_id", sa.Uuid, sa.Computed("coalesce(webhook_id, agent_id, project_id)", persisted=True)),
        sa.Column("url", sa.Text),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("call_id", sa.Uuid),
        sa.Column("call_seq", sa.Integer),
        sa.Column("data", postgresql.JSONB),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'pending'")),
        _now("due_at"),
        _now("created_at"),
        sa.Column("delivered_at", _MOMENT),
        sa.Column("first_tried_at", _MOMENT),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tries", postgresql.JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("failure", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.CheckConstraint("status in ('pending', 'delivered', 'failed')", name="ck_webhook_deliveries_status"),
    )
    for columns in (["project_id", "created_at", "id"], ["target_id", "created_at"]):
        op.create_index(f"ix_webhook_deliveries_{'_'.join(columns)}", "webhook_deliveries", columns)
    for columns in (["target_id", "due_at"], ["target_id", "call_id", "call_seq"]):
        name = f"ix_webhook_deliveries_{'_'.join(columns)}"
        op.create_index(name, "webhook_deliveries", columns, postgresql_where=_PENDING)
    op.create_index("ix_webhook_deliveries_created_at", "webhook_deliveries", ["created_at"], postgresql_using="brin")
    wall("webhook_deliveries")
