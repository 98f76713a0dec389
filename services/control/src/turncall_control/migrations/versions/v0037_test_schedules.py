"""When test suites are run by themselves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from turncall_control.migrations.walls import wall

revision = "0037"
down_revision = "0036"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "test_schedules",
        sa.Column("suite_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("cron", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("tries", JSONB, nullable=False),
        sa.Column("next_at", _MOMENT),
        sa.Column("last_run_id", sa.Uuid),
        sa.Column("problem", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("suite_id", "agent_id", name="pk_test_schedules"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_test_schedules_project_id_projects"),
        sa.ForeignKeyConstraint(
            ["suite_id"], ["test_suites.id"], name="fk_test_schedules_suite_id_test_suites", ondelete="cascade"
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name="fk_test_schedules_agent_id_agents", ondelete="cascade"
        ),
    )
    op.create_index(
        "ix_test_schedules_next_at", "test_schedules", ["next_at"], postgresql_where=sa.text("next_at is not null")
    )
    op.create_index("ix_test_schedules_project_id", "test_schedules", ["project_id"])
    wall("test_schedules")
