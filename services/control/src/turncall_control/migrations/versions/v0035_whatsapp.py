"""WhatsApp senders: their credentials, their numbers, templates."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """A number may be Twilio's and WhatsApp's at once; a contact's sessions are found whatever became of them."""
    op.execute("alter table credentials drop constraint ck_credentials_kind")
    op.create_check_constraint("kind", "credentials", "kind in ('vendor', 'twilio', 's3', 'server', 'whatsapp')")
    op.drop_constraint("uq_numbers_e164", "numbers")
    op.create_unique_constraint("uq_numbers_carrier_e164", "numbers", ["carrier", "e164"])
    op.add_column("texts", sa.Column("template", postgresql.JSONB))
    op.drop_index("ix_sessions_project_id_contact", "sessions")
    op.create_index("ix_sessions_project_id_contact", "sessions", ["project_id", "contact"])
