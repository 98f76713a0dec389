"""A phone number as the API takes and shows it."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment
from turncall_proto.ids import AgentId, NumberId
from turncall_proto.marks import PERSONAL

AgentRef = Annotated[AgentId, Meta(pattern=r"^agt_[0-9a-f]{32}$", description="An agent of this project.")]
E164 = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$", description="+14155550100"), PERSONAL]


class NumberNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number of the carrier's account, to be bound to an agent."""

    number: Annotated[
        str,
        Meta(
            pattern=r"^(\+[1-9][0-9]{6,14}|PN[0-9a-fA-F]{32})$",
            description="The number in E.164 form, or the carrier's id of it.",
            examples=["+14155550100"],
        ),
        PERSONAL,
    ]
    agent_id: AgentRef


class NumberChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be changed about a bound number."""

    agent_id: AgentRef


class NumberView(Struct, frozen=True, kw_only=True):
    """A bound number."""

    id: NumberId
    e164: E164
    carrier: str
    carrier_sid: str
    agent_id: AgentId
    created_at: Moment
    configured_at: Annotated[
        Moment | None, Meta(description="When the carrier confirmed that it sends calls here; null until then.")
    ]


class OwnedNumber(Struct, frozen=True, kw_only=True):
    """A number that the carrier's account owns."""

    carrier: str
    carrier_sid: str
    e164: E164
    label: str
    can_voice: bool
    can_sms: bool
    is_bound: Annotated[bool, Meta(description="Whether this project has bound it.")]


class OwnedNumbers(Struct, frozen=True, kw_only=True):
    """The numbers that the carrier's account owns, 200 at most."""

    items: tuple[OwnedNumber, ...]
