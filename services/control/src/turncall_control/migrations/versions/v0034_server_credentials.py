"""Credentials for servers of the project's own."""

from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Lets a credential be headers for a host."""
    op.execute("alter table credentials drop constraint ck_credentials_kind")
    op.create_check_constraint("kind", "credentials", "kind in ('vendor', 'twilio', 's3', 'server')")
