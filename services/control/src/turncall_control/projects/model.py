"""The table of projects."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, StructJson, created_at
from turncall_control.settings import ProjectSettings
from turncall_proto import ids
from turncall_proto.ids import ProjectId


class ProjectRow(Row):
    """One tenant. A row with ``deleted_at`` is gone for everybody but the purge."""

    __tablename__ = "projects"

    id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), primary_key=True)
    name: Mapped[str]
    settings: Mapped[ProjectSettings] = mapped_column(
        StructJson(ProjectSettings), server_default=text("'{}'"), default=ProjectSettings()
    )
    created_at: Mapped[datetime] = created_at()
    deleted_at: Mapped[datetime | None]
