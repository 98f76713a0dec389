"""A call that somebody asks for, as the API takes and shows it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from turncall_control.calls.schemas import CallView
from turncall_control.http.fields import Moment
from turncall_control.routing import E164, AgentRef
from turncall_proto.ids import VersionId
from turncall_proto.marks import Instant
from turncall_proto.variables import Metadata, Variables

VersionRef = Annotated[VersionId, Meta(pattern=r"^ver_[0-9a-f]{32}$(?!\n)")]


class OutboundCallNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call to be placed; ``agent_id`` or ``version_id`` says who is to speak."""

    to: Annotated[E164, Meta(description="Whom to call.")]
    from_: Annotated[E164, Meta(description="The project's number that the person called sees.")] = field(name="from")
    channel: Annotated[
        Literal["phone", "whatsapp"],
        Meta(description="whatsapp: from a WhatsApp sender's number, to somebody who has let it call."),
    ] = "phone"
    agent_id: Annotated[AgentRef | None, Meta(description="Speaks in its published version.")] = None
    version_id: Annotated[
        VersionRef | None, Meta(description="A version by name: a published one, or a draft that is to be tried.")
    ] = None
    variables: Variables = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    ring_timeout_s: Annotated[int, Meta(ge=5, le=120, description="How long it rings before it is given up.")] = 30
    not_before: Annotated[
        Instant | None, Meta(description="When to dial, 30 days ahead at most; at once when null.")
    ] = None
    answering_machine_detection: Annotated[
        Literal["off", "carrier"],
        Meta(
            description="carrier: it listens for some seconds after the answer, in which a person hears nothing, and"
            " the agent knows at once. The agent's own voicemail settings listen in any case."
        ),
    ] = "off"
    timezone: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Where the person called is, as IANA names it; by the number when null."),
    ] = None


class OutboundCall(Struct, frozen=True, kw_only=True):
    """A call that is to be placed."""

    call: CallView
    due_at: Annotated[
        Moment, Meta(description="Not dialled before then: what was asked for, moved into the project's calling hours.")
    ]
