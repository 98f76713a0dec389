"""The table of projects."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Box, Id, Row, StructJson, created_at
from turncall_control.settings import ProjectSettings
from turncall_proto import ids
from turncall_proto.ids import ProjectId


class ProjectRow(Row):
    """One tenant. A row with ``deleted_at`` is gone for everybody but the purge, which begins at ``purge_at``."""

    __tablename__ = "projects"
    __table_args__ = (Index("ix_projects_deleted_at", "deleted_at", postgresql_where=text("deleted_at is not null")),)

    id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), primary_key=True)
    name: Mapped[str]
    settings: Mapped[ProjectSettings] = mapped_column(
        StructJson(ProjectSettings), server_default=text("'{}'"), default=ProjectSettings()
    )
    created_at: Mapped[datetime] = created_at()
    deleted_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]


class SigningSecretRow(Row):
    """What requests to a project's servers are signed with. With ``retires_at`` set it signs beside its successor."""

    __tablename__ = "signing_secrets"
    __table_args__ = (
        Index("one_current_signing_secret", "project_id", unique=True, postgresql_where=text("retires_at is null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"), index=True)
    box: Mapped[bytes] = mapped_column(Box)
    created_at: Mapped[datetime] = created_at()
    retires_at: Mapped[datetime | None]
