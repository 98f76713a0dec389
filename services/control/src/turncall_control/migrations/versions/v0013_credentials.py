"""Projects' own credentials and signing secrets, and the carrier account that each number belongs to."""

import sqlalchemy as sa
from alembic import op

from turncall_control.migrations.walls import wall

revision = "0013"
down_revision = "0012"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes two tables, and adds a column that older releases do not read."""
    _credentials()
    _signing_secrets()
    op.add_column("numbers", sa.Column("account", sa.Text, nullable=False, server_default=sa.text("''")))


def _credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("box", sa.LargeBinary, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("last_used_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_credentials_project_id_projects"),
        sa.UniqueConstraint("project_id", "kind", "name", name="uq_credentials_project_id_kind_name"),
        sa.CheckConstraint("kind in ('vendor', 'twilio')", name="ck_credentials_kind"),
    )
    of_twilio = sa.text("kind = 'twilio'")
    op.create_index("one_twilio_account", "credentials", ["project_id"], unique=True, postgresql_where=of_twilio)
    op.create_index("ix_credentials_account", "credentials", ["name"], postgresql_where=of_twilio)
    wall("credentials")


def _signing_secrets() -> None:
    op.create_table(
        "signing_secrets",
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("uuidv7()")),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("box", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("retires_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_signing_secrets"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_signing_secrets_project_id_projects"),
    )
    op.create_index("ix_signing_secrets_project_id", "signing_secrets", ["project_id"])
    current = sa.text("retires_at is null")
    op.create_index(
        "one_current_signing_secret", "signing_secrets", ["project_id"], unique=True, postgresql_where=current
    )
    wall("signing_secrets")
