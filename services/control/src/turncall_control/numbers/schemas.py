"""A phone number as the API takes and shows it."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from turncall_control.http.fields import Moment
from turncall_control.routing import E164, Busy, Channels, Fallback, Hold, Target
from turncall_control.settings import CallCount
from turncall_proto.ids import NumberId
from turncall_proto.marks import PERSONAL

CallLimit = Annotated[
    CallCount | None,
    Meta(description="Live calls at a time; further callers hear that all lines are busy. Null for no limit."),
]


class NumberNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number of the carrier's account, to be bound, and what answers it."""

    number: Annotated[
        str,
        Meta(
            pattern=r"^(\+[1-9][0-9]{6,14}|PN[0-9a-fA-F]{32})$(?!\n)",
            description="The number in E.164 form, or the carrier's id of it.",
            examples=["+14155550100"],
        ),
        PERSONAL,
    ]
    carrier: Annotated[
        Literal["twilio", "whatsapp"],
        Meta(description="whatsapp: the number of a WhatsApp sender that is among the project's credentials."),
    ] = "twilio"
    routing: Target
    fallback: Fallback = field(default_factory=Fallback)
    busy: Busy = field(default_factory=Hold)
    channels: Channels = field(default_factory=Channels)
    max_concurrent_calls: CallLimit = None


class NumberChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be changed about a bound number; what is left out stays, what is given replaces its part whole."""

    routing: Target | UnsetType = UNSET
    fallback: Fallback | UnsetType = UNSET
    busy: Busy | UnsetType = UNSET
    channels: Channels | UnsetType = UNSET
    max_concurrent_calls: CallLimit | UnsetType = UNSET


class NumberView(Struct, frozen=True, kw_only=True):
    """A bound number."""

    id: NumberId
    e164: E164
    carrier: str
    carrier_sid: str
    routing: Target
    fallback: Fallback
    busy: Annotated[Busy, Meta(description="What callers get while no worker is free.")]
    channels: Channels
    max_concurrent_calls: CallLimit
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


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. ``what_to_do`` is empty when all is well."""

    check: Literal[
        "public_url",
        "carrier_account",
        "carrier_owns_number",
        "voice_url",
        "voice_fallback_url",
        "status_url",
        "sms_url",
        "not_diverted",
        "agent",
    ]
    is_ok: bool
    found: str
    expected: str
    what_to_do: str


class NumberCheck(Struct, frozen=True, kw_only=True):
    """Whether a number would work if it were called."""

    number_id: NumberId
    e164: E164
    is_ok: bool
    findings: tuple[Finding, ...]
