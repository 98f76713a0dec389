"""Calls, their facts, their epochs, carriers' callbacks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0002"
down_revision = "0001"

_MOMENT = sa.DateTime(timezone=True)
_INTEGERS = postgresql.ARRAY(sa.Integer)


def upgrade() -> None:
    """Makes the tables, each behind its wall."""
    _calls()
    _call_events()
    _epochs()
    _carrier_callbacks()


def _zero(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))


def _marks(name: str, default: str) -> sa.Column[list[int]]:
    return sa.Column(name, _INTEGERS, nullable=False, server_default=sa.text(default))


def _of_call(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["project_id", "call_id"],
        ["calls.project_id", "calls.id"],
        name=f"fk_{table}_project_id_call_id_calls",
        ondelete="cascade",
    )


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("agent_id", sa.Uuid, nullable=False),
        sa.Column("version_id", sa.Uuid, nullable=False),
        sa.Column("number_id", sa.Uuid),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("from_number", sa.Text, nullable=False),
        sa.Column("to_number", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("provider_call_id", sa.Text),
        sa.Column("metadata", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ended_reason", sa.Text),
        _zero("epoch"),
        _marks("live_mark", "'{0,0}'"),
        _marks("end_mark", "'{0,0,0}'"),
        _marks("reason_mark", "'{0,0,0}'"),
        sa.Column("end_intended", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("answered_at", _MOMENT),
        sa.Column("started_at", _MOMENT),
        sa.Column("ended_at", _MOMENT),
        sa.Column("carrier_duration_s", sa.Integer),
        _zero("control_seq"),
        _zero("event_count"),
        sa.Column("answer", sa.Text),
        sa.Column("over_at", _MOMENT),
        sa.Column("concluded_at", _MOMENT),
        sa.Column("settled_at", _MOMENT),
        _zero("missing_events"),
        sa.Column("hang_up_due", _MOMENT),
        _zero("hang_up_tries"),
        sa.PrimaryKeyConstraint("id", name="pk_calls"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_calls_project_id_projects"),
        sa.ForeignKeyConstraint(
            ["project_id", "agent_id"], ["agents.project_id", "agents.id"], name="fk_calls_project_id_agent_id_agents"
        ),
        sa.ForeignKeyConstraint(["version_id"], ["agent_versions.id"], name="fk_calls_version_id_agent_versions"),
        sa.UniqueConstraint(
            "provider", "account", "provider_call_id", name="uq_calls_provider_account_provider_call_id"
        ),
        sa.UniqueConstraint("project_id", "id", name="uq_calls_project_id_id"),
    )
    op.create_index("ix_calls_project_id_created_at_id", "calls", ["project_id", sa.desc("created_at"), sa.desc("id")])
    # What the sweeps look for is a handful of rows among millions.
    unsettled = sa.text("over_at is not null and settled_at is null")
    op.create_index("ix_calls_over_at", "calls", ["over_at"], postgresql_where=unsettled)
    due = sa.text("hang_up_due is not null")
    op.create_index("ix_calls_hang_up_due", "calls", ["hang_up_due"], postgresql_where=due)
    wall("calls")


def _call_events() -> None:
    op.create_table(
        "call_events",
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("call_seq", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("payload", postgresql.JSONB, nullable=False),
        sa.PrimaryKeyConstraint("call_id", "epoch", "seq", name="pk_call_events"),
        sa.UniqueConstraint("call_id", "call_seq", name="uq_call_events_call_id_call_seq"),
        _of_call("call_events"),
    )
    wall("call_events")


def _epochs() -> None:
    op.create_table(
        "epochs",
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("opened_at", _MOMENT),
        sa.Column("closed_seq", sa.Integer),
        _zero("seen"),
        _zero("known_seq"),
        sa.Column("next_answer", sa.Text),
        sa.PrimaryKeyConstraint("call_id", "epoch", name="pk_epochs"),
        _of_call("epochs"),
    )
    wall("epochs")


def _carrier_callbacks() -> None:
    op.create_table(
        "carrier_callbacks",
        sa.Column("call_id", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("call_id", "digest", name="pk_carrier_callbacks"),
        _of_call("carrier_callbacks"),
    )
    wall("carrier_callbacks")
