"""What is taken out of conversations, by name."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0031"
down_revision = "0030"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the table, behind its wall."""
    op.create_table(
        "takeaways",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("instructions", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("schema", postgresql.JSONB, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("changed_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", name="pk_takeaways"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_takeaways_project_id_projects"),
        sa.UniqueConstraint("project_id", "name", name="uq_takeaways_project_id_name"),
    )
    wall("takeaways")
