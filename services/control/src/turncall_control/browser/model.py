"""The table of client tokens."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, created_at
from turncall_control.trail import PRIVATE
from turncall_proto import ids
from turncall_proto.ids import CallId, KeyId, ProjectId


class ClientTokenRow(Row):
    """One token. ``id`` is the call that it opens, ``wanted`` what was decided about it (`Visit`); its text is nowhere.

    ``max_duration_s`` is the call's; null: the agent's own.
    """

    __tablename__ = "client_tokens"
    __table_args__ = (
        Index("ix_client_tokens_expires_at", "expires_at"),
        Index("ix_client_tokens_project_id", "project_id"),
    )

    id: Mapped[CallId] = mapped_column(Id(ids.CALL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    key_id: Mapped[KeyId] = mapped_column(Id(ids.KEY))
    hash: Mapped[bytes]
    wanted: Mapped[dict[str, Any]] = mapped_column(JSONB, info=PRIVATE)
    max_duration_s: Mapped[int | None]
    created_at: Mapped[datetime] = created_at()
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
