"""What belongs to a call refers to it by its key alone.

By project and id, Postgres checked each new row through whichever index on ``calls`` begins with the project, as it saw
fit while the table was empty, and read every call of the project.
"""

from alembic import op

revision = "0040"
down_revision = "0039"

_TABLES = ("epochs", "transfers", "carrier_callbacks")


def upgrade() -> None:
    """Exchanges the constraints."""
    for table in _TABLES:
        op.drop_constraint(f"fk_{table}_project_id_call_id_calls", table, type_="foreignkey")
        op.create_foreign_key(f"fk_{table}_call_id_calls", table, "calls", ["call_id"], ["id"], ondelete="cascade")
