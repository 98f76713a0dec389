"""The table of takeaways."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, created_at
from turncall_proto import ids
from turncall_proto.ids import ProjectId, TakeawayId


class TakeawayRow(Row):
    """A takeaway; agents know it by its name, which stays."""

    __tablename__ = "takeaways"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[TakeawayId] = mapped_column(Id(ids.TAKEAWAY), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    instructions: Mapped[str] = mapped_column(server_default=text("''"))
    schema: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = created_at()
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
