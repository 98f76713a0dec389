"""Credentials for servers of the project's own."""

from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Lets a credential be headers for a host."""
    op.execute("alter table credentials drop constraint ck_credentials_ck_credentials_kind")
    op.execute(
        "alter table credentials add constraint ck_credentials_kind check (kind in ('vendor', 'twilio', 'server'))"
    )
