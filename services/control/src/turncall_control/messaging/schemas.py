"""A message to a phone that a user asks for, as the API takes it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from turncall_control.chat.schemas import LONGEST_MESSAGE
from turncall_control.routing import E164, AgentRef
from turncall_proto.marks import PERSONAL
from turncall_proto.variables import Metadata, Variables


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
            description="What is longer than 1600 characters goes in several parts.",
            examples=["Your table is ready."],
        ),
        PERSONAL,
    ]
    channel: Literal["sms"] = "sms"
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
