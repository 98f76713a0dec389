"""Projects, keys, agents and their versions, numbers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables, each behind its wall."""
    _projects()
    _keys()
    _agents()
    _versions()
    _numbers()


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now())


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _created_at(),
        sa.Column("deleted_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    wall("projects", "id")


def _keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        _created_at(),
        sa.Column("expires_at", _MOMENT),
        sa.Column("last_used_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_api_keys_project_id_projects"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
        sa.CheckConstraint("role in ('admin', 'developer', 'viewer')", name="ck_api_keys_role"),
    )
    op.create_index("ix_api_keys_project_id_id", "api_keys", ["project_id", "id"])
    wall("api_keys")


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_agents_project_id_projects"),
        sa.UniqueConstraint("project_id", "id", name="uq_agents_project_id_id"),
        sa.UniqueConstraint("project_id", "environment", "name", name="uq_agents_project_id_environment_name"),
        sa.CheckConstraint("environment in ('development', 'staging', 'production')", name="ck_agents_environment"),
    )
    wall("agents")


def _versions() -> None:
    op.create_table(
        "agent_versions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("config", postgresql.JSONB, nullable=False),
        _created_at(),
        sa.Column("published_at", _MOMENT),
        sa.Column("archived_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_agent_versions"),
        sa.ForeignKeyConstraint(
            ["project_id", "agent_id"],
            ["agents.project_id", "agents.id"],
            name="fk_agent_versions_project_id_agent_id_agents",
        ),
        sa.UniqueConstraint("agent_id", "number", name="uq_agent_versions_agent_id_number"),
        sa.CheckConstraint("state in ('draft', 'published', 'archived')", name="ck_agent_versions_state"),
    )
    for state in ("draft", "published"):
        condition = sa.text(f"state = '{state}'")
        op.create_index(f"one_{state}", "agent_versions", ["agent_id"], unique=True, postgresql_where=condition)
    wall("agent_versions")


def _numbers() -> None:
    op.create_table(
        "numbers",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("e164", sa.Text, nullable=False),
        sa.Column("carrier", sa.Text, nullable=False),
        sa.Column("carrier_sid", sa.Text, nullable=False),
        _created_at(),
        sa.Column("configured_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_numbers"),
        sa.ForeignKeyConstraint(
            ["project_id", "agent_id"], ["agents.project_id", "agents.id"], name="fk_numbers_project_id_agent_id_agents"
        ),
        sa.UniqueConstraint("e164", name="uq_numbers_e164"),
        sa.UniqueConstraint("carrier", "carrier_sid", name="uq_numbers_carrier_carrier_sid"),
    )
    op.create_index("ix_numbers_project_id_id", "numbers", ["project_id", "id"])
    wall("numbers")
