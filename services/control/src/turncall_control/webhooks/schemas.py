"""Webhook subscriptions and deliveries as the API takes and shows them."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from turncall_control.http.fields import Moment
from turncall_control.webhooks.disabling import DISABLED
from turncall_control.webhooks.fanout import CALL_END, EVENT_TYPES
from turncall_control.webhooks.model import DeliveryStatus, DisabledReason
from turncall_control.webhooks.runs import RUN_EVENTS
from turncall_control.webhooks.sessions import DOCUMENT_EVENTS, SESSION_EVENTS
from turncall_proto.ids import AgentId, CallId, DeliveryId, WebhookId

SUBSCRIBABLE = tuple(sorted((*EVENT_TYPES, *SESSION_EVENTS, *DOCUMENT_EVENTS, *RUN_EVENTS, DISABLED)))
"""What a subscription may name."""

Url = Annotated[
    str,
    Meta(pattern=r"^https?://", max_length=2048, description="Gets the POSTs. Production takes https only."),
]
EventTypes = Annotated[
    tuple[str, ...],
    Meta(
        max_length=64,
        description=f"Which events are sent; empty sends all. One of: {', '.join(SUBSCRIBABLE)}.",
        examples=[["call.started", "call.ended"]],
    ),
]
Description = Annotated[str, Meta(max_length=500)]
AgentRef = Annotated[
    AgentId,
    Meta(pattern=r"^agt_[0-9a-f]{32}$(?!\n)", description="Only events of this agent's calls; null for every agent's."),
]


class WebhookNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription to be made."""

    url: Url
    event_types: EventTypes = ()
    agent_id: AgentRef | None = None
    description: Description = ""
    is_enabled: bool = True


class WebhookChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about a subscription; what is left out stays as it is."""

    url: Url | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    agent_id: AgentRef | UnsetType | None = UNSET
    description: Description | UnsetType = UNSET
    is_enabled: Annotated[
        bool | UnsetType, Meta(description="true also brings back one that the platform has disabled.")
    ] = UNSET


class WebhookView(Struct, frozen=True, kw_only=True):
    """A subscription, without its secret."""

    id: WebhookId
    url: str
    event_types: tuple[str, ...]
    agent_id: AgentId | None
    description: str
    is_enabled: bool
    disabled_reason: Annotated[
        DisabledReason | None,
        Meta(description="Set when the platform disabled it: `gone` after a 410, `failing` when nothing arrived."),
    ]
    disabled_at: Moment | None
    paused_until: Annotated[Moment | None, Meta(description="Its server asked to be left alone until then.")]
    last_delivered_at: Moment | None
    previous_secret_until: Annotated[
        Moment | None, Meta(description="Until then requests are signed with the replaced secret too.")
    ]
    created_at: Moment


class WebhookMade(Struct, frozen=True, kw_only=True):
    """A new subscription, or a new secret of one; ``secret`` is shown this once."""

    webhook: WebhookView
    secret: Annotated[str, Meta(description="whsec_…, for any library of Standard Webhooks.")]


class TryView(Struct, frozen=True, kw_only=True):
    """One attempt to deliver."""

    at: Moment
    duration_ms: int
    status: Annotated[int | None, Meta(description="HTTP status of the answer; null when there was none.")] = None
    answer: Annotated[str, Meta(description="The first KiB of the answer's body.")] = ""
    error: str = ""


class DeliveryView(Struct, frozen=True, kw_only=True):
    """One event on its way to one receiver."""

    id: Annotated[DeliveryId, Meta(description="The `webhook-id` of every attempt.")]
    webhook_id: Annotated[WebhookId | None, Meta(description="Null when an agent's own server is told.")]
    agent_id: Annotated[AgentId | None, Meta(description="The agent whose own server is told.")]
    type: Annotated[str, Meta(examples=["call.ended", CALL_END])]
    at: Annotated[Moment, Meta(description="When the event happened.")]
    call_id: CallId | None
    call_seq: int | None
    status: DeliveryStatus
    failure: Annotated[str | None, Meta(description="Why the last attempt, or the delivery, failed.")]
    created_at: Moment
    delivered_at: Moment | None
    next_try_at: Annotated[Moment | None, Meta(description="Null unless it is pending.")]
    tries: Annotated[tuple[TryView, ...], Meta(description="The newest 20 attempts, oldest first.")]


class RedeliveryAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of a subscription's deliveries are to be sent again."""

    since: Annotated[Moment, Meta(description="Events delivered, or to be delivered, from this moment on.")]
    until: Annotated[Moment | None, Meta(description="Not included; null for until this moment.")] = None
    status: Annotated[Literal["failed", "delivered"], Meta(description="Those that stand like this.")] = "failed"


class Redelivering(Struct, frozen=True, kw_only=True):
    """What was asked for again. ``next_since`` goes on where this request stopped; null when it took them all."""

    count: int
    next_since: Moment | None
