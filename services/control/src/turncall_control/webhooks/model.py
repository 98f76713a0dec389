"""The tables of webhook subscriptions and of what is delivered to them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Computed, ForeignKey, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Box, Id, Row, Word, created_at
from turncall_proto import ids
from turncall_proto.ids import AgentId, CallId, DeliveryId, ProjectId, WebhookId


class DisabledReason(StrEnum):
    """Why the platform stopped sending to a subscription."""

    GONE = "gone"
    """Its server answered 410."""
    FAILING = "failing"
    """A delivery used up its attempts, and nothing else arrived meanwhile."""


class DeliveryStatus(StrEnum):
    """Where a delivery stands. The last two are final until somebody asks for a redelivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookRow(Row):
    """A URL that is told of a project's events: of all of them if ``event_types`` is empty, of one agent's if set.

    ``disabled_reason`` is set when the platform disabled it, not its owner. Until ``previous_until`` requests are
    signed with the previous secret too. Nothing is sent before ``paused_until``: its server asked for that.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "agent_id"], ["agents.project_id", "agents.id"]),
        Index("ix_webhooks_project_id_id", "project_id", "id"),
    )

    id: Mapped[WebhookId] = mapped_column(Id(ids.WEBHOOK), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    url: Mapped[str]
    description: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    agent_id: Mapped[AgentId | None] = mapped_column(Id(ids.AGENT))
    is_enabled: Mapped[bool]
    disabled_reason: Mapped[DisabledReason | None] = mapped_column(Word(DisabledReason))
    disabled_at: Mapped[datetime | None]
    secret: Mapped[bytes] = mapped_column(Box())
    previous_secret: Mapped[bytes | None] = mapped_column(Box())
    previous_until: Mapped[datetime | None]
    paused_until: Mapped[datetime | None]
    last_delivered_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = created_at()


class DeliveryRow(Row):
    """One event on its way to one target: a subscription, or the server of the agent that had the call (``url``).

    The event is the call's fact ``call_seq``, whose words stay in the call's own record, or ``data``. Pending rows of a
    target and call are sent in the order of ``call_seq``; ``due_at`` is when to look at the row next, and, while it is
    being sent, until when its sender has it. ``tries`` are the newest attempts; ``attempts`` counts those since it was
    last asked for. No foreign keys: the tables would be checked for each row of the projector's batches.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_project_id_created_at_id", "project_id", "created_at", "id"),
        Index("ix_webhook_deliveries_target_id_created_at", "target_id", "created_at"),
        Index(
            "ix_webhook_deliveries_target_id_due_at", "target_id", "due_at", postgresql_where=text("status = 'pending'")
        ),
        Index(
            "ix_webhook_deliveries_target_id_call_id_call_seq",
            "target_id",
            "call_id",
            "call_seq",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("ix_webhook_deliveries_created_at", "created_at", postgresql_using="brin"),
    )

    id: Mapped[DeliveryId] = mapped_column(Id(ids.DELIVERY), primary_key=True, server_default=text("uuidv7()"))
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    webhook_id: Mapped[WebhookId | None] = mapped_column(Id(ids.WEBHOOK))
    agent_id: Mapped[AgentId | None] = mapped_column(Id(ids.AGENT))
    target_id: Mapped[UUID] = mapped_column(Computed("coalesce(webhook_id, agent_id, project_id)", persisted=True))
    url: Mapped[str | None]
    type: Mapped[str]
    at: Mapped[datetime]
    call_id: Mapped[CallId | None] = mapped_column(Id(ids.CALL))
    call_seq: Mapped[int | None]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    status: Mapped[DeliveryStatus] = mapped_column(Word(DeliveryStatus), server_default=text("'pending'"))
    due_at: Mapped[datetime] = created_at()
    created_at: Mapped[datetime] = created_at()
    delivered_at: Mapped[datetime | None]
    first_tried_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    tries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    failure: Mapped[str | None]
