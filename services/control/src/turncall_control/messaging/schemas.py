"""A message to a phone that a user asks for, as the API takes it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from turncall_control.chat.schemas import LONGEST_MESSAGE
from turncall_control.routing import E164, AgentRef
from turncall_proto.marks import PERSONAL
from turncall_proto.variables import Metadata, Variables


class TemplateNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message template that WhatsApp has approved for the number's account."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,512}$(?!\n)", examples=["table_ready"])]
    language: Annotated[str, Meta(pattern=r"^[a-z]{2,3}(_[A-Za-z]{2,4})?$(?!\n)", examples=["en_US"])]
    parameters: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=1024), PERSONAL], ...],
        Meta(max_length=20, description="What fills the places of its body, in their order."),
    ] = ()


class OutboundMessageNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message to be sent, in the session of its contact with an agent, who answers what comes back."""

    to: Annotated[E164, Meta(description="Whom to write to.")]
    from_: Annotated[E164, Meta(description="The project's number that it comes from.")] = field(name="from")
    text: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=LONGEST_MESSAGE,
            pattern=r"\S",
            description="What is longer than a carrier takes (1600 characters, 4096 on WhatsApp) goes in several parts."
            " With a template: how it reads, for the session.",
            examples=["Your table is ready."],
        ),
        PERSONAL,
    ]
    channel: Literal["sms", "whatsapp"] = "sms"
    template: Annotated[
        TemplateNew | None, Meta(description="On WhatsApp, to a contact who has not written within 24 hours.")
    ] = None
    agent_id: Annotated[
        AgentRef | None,
        Meta(description="Who answers; without one whoever answers on the number, if its routing names agents."),
    ] = None
    variables: Annotated[Variables, Meta(description="For a session that begins with this message.")] = field(
        default_factory=dict
    )
    metadata: Annotated[Metadata, Meta(description="For a session that begins with this message.")] = field(
        default_factory=dict
    )
