"""The table of API keys."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.auth import Role
from turncall_control.db.base import Id, Row, Word, created_at
from turncall_proto import ids
from turncall_proto.ids import KeyId, ProjectId


class KeyRow(Row):
    """One key: found by ``prefix``, known by ``hash``; its text is nowhere."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_project_id_id", "project_id", "id"),)

    id: Mapped[KeyId] = mapped_column(Id(ids.KEY), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    name: Mapped[str]
    role: Mapped[Role] = mapped_column(Word(Role))
    prefix: Mapped[str] = mapped_column(unique=True)
    hash: Mapped[bytes]
    created_at: Mapped[datetime] = created_at()
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    successor_id: Mapped[KeyId | None] = mapped_column(Id(ids.KEY))
