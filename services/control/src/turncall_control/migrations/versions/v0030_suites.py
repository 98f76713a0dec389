"""Test suites, their runs, and the trials of these."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from turncall_control.migrations.walls import wall

revision = "0030"
down_revision = "0029"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables, each behind its wall."""
    _suites()
    _runs()
    _trials()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, _MOMENT, nullable=False, server_default=sa.func.now())


def _suites() -> None:
    op.create_table(
        "test_suites",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        _now("created_at"),
        _now("changed_at"),
        sa.PrimaryKeyConstraint("id", name="pk_test_suites"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_test_suites_project_id_projects"),
    )
    op.create_index("ux_test_suites_project_id_name", "test_suites", ["project_id", "name"], unique=True)
    wall("test_suites")


def _runs() -> None:
    op.create_table(
        "test_runs",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("suite_id", sa.Uuid),
        sa.Column("suite_name", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("version_id", sa.Uuid, nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("agent", JSONB, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("repeats", sa.Integer, nullable=False),
        sa.Column("at_once", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'running'")),
        _now("created_at"),
        sa.Column("ended_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_test_runs"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_test_runs_project_id_projects"),
        sa.CheckConstraint("state in ('running', 'completed', 'canceled')", name="ck_test_runs_state"),
    )
    op.create_index("ix_test_runs_project_id_id", "test_runs", ["project_id", "id"])
    op.create_index("ix_test_runs_state", "test_runs", ["state"], postgresql_where=sa.text("state = 'running'"))
    wall("test_runs")


def _trials() -> None:
    op.create_table(
        "test_trials",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("scenario", sa.Text, nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'queued'")),
        sa.Column("job_id", sa.Uuid),
        sa.Column("detail", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("talk", JSONB),
        sa.Column("judged", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("used", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("began_at", _MOMENT),
        sa.Column("ended_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_test_trials"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_test_trials_project_id_projects"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["test_runs.id"], name="fk_test_trials_run_id_test_runs", ondelete="cascade"
        ),
        sa.CheckConstraint(
            "state in ('queued', 'talking', 'judging', 'passed', 'failed', 'error', 'canceled')",
            name="ck_test_trials_state",
        ),
    )
    op.create_index("ux_test_trials_run_id_number", "test_trials", ["run_id", "number"], unique=True)
    op.create_index("ix_test_trials_job_id", "test_trials", ["job_id"], postgresql_where=sa.text("job_id is not null"))
    wall("test_trials")
