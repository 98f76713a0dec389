"""The table of bound phone numbers."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, StructJson, created_at
from turncall_control.routing import Settings
from turncall_control.trail import PRIVATE
from turncall_proto import ids
from turncall_proto.ids import AgentId, NumberId, ProjectId


class NumberRow(Row):
    """A carrier's number and what answers it; bound once in the whole installation for calls and SMS, and once for
    WhatsApp, whose sender it may be as well.

    ``configured_at`` is unset until the carrier has confirmed that its calls come here. ``agent_id`` is what releases
    before ``settings`` read: the agent of a number that has just one; nothing here reads it.
    ``account`` owns the number at the carrier; empty for the installation's, in rows of before it was written down.
    """

    __tablename__ = "numbers"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "agent_id"], ["agents.project_id", "agents.id"]),
        UniqueConstraint("carrier", "carrier_sid"),
        UniqueConstraint("carrier", "e164"),
        Index("ix_numbers_project_id_id", "project_id", "id"),
    )

    id: Mapped[NumberId] = mapped_column(Id(ids.NUMBER), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    agent_id: Mapped[AgentId | None] = mapped_column(Id(ids.AGENT))
    settings: Mapped[Settings] = mapped_column(StructJson(Settings))
    e164: Mapped[str] = mapped_column(info=PRIVATE)
    carrier: Mapped[str]
    account: Mapped[str] = mapped_column(server_default=text("''"))
    carrier_sid: Mapped[str]
    max_concurrent_calls: Mapped[int | None]
    created_at: Mapped[datetime] = created_at()
    configured_at: Mapped[datetime | None]
