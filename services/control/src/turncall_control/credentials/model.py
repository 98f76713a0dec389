"""The table of credentials."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Box, Id, Row, created_at
from turncall_proto import ids
from turncall_proto.ids import CredentialId, ProjectId


class CredentialRow(Row):
    """A project's credential for a vendor, a server of its own, a WhatsApp number, or, one of each, Twilio or a bucket.

    ``name`` says which vendor, host, number, account or bucket.
    """

    __tablename__ = "credentials"
    __table_args__ = (
        UniqueConstraint("project_id", "kind", "name"),
        Index("one_twilio_account", "project_id", unique=True, postgresql_where=text("kind = 'twilio'")),
        Index("one_bucket", "project_id", unique=True, postgresql_where=text("kind = 's3'")),
        Index("ix_credentials_account", "name", postgresql_where=text("kind = 'twilio'")),
    )

    id: Mapped[CredentialId] = mapped_column(Id(ids.CREDENTIAL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    kind: Mapped[str]
    name: Mapped[str]
    box: Mapped[bytes] = mapped_column(Box)
    hint: Mapped[str]
    created_at: Mapped[datetime] = created_at()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
