"""The audit log, and what became of idempotency keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0009"
down_revision = "0008"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes both tables, each behind its wall; entries of the log can be added and not rewritten."""
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("effect", sa.Text, nullable=False),
        sa.Column("changes", postgresql.JSONB, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
        sa.CheckConstraint("effect in ('created', 'changed', 'deleted', 'done')", name="ck_audit_entries_effect"),
    )
    op.create_index("ix_audit_entries_project_id_id", "audit_entries", ["project_id", "id"])
    op.create_index("ix_audit_entries_actor_id", "audit_entries", ["actor", "id"])
    op.create_index("ix_audit_entries_created_at", "audit_entries", ["created_at"])
    wall("audit_entries")
    op.execute("revoke update on audit_entries from api, system")
    op.execute("revoke delete on audit_entries from api")
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("claim", sa.Uuid, nullable=False),
        sa.Column("claimed_until", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("has_acted", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("status", sa.Integer),
        sa.Column("media_type", sa.Text),
        sa.Column("answer", sa.LargeBinary),
        sa.PrimaryKeyConstraint("project_id", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])
    wall("idempotency_keys")
