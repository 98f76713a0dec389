"""Calls over WebRTC, from browsers and WhatsApp: what control tells the worker that holds a slot of a call's sound."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from turncall_proto.ids import CallId
from turncall_proto.marks import PERSONAL, Instant

EXCHANGE_WITHIN_S = 10.0
"""How long control waits for a worker's answer to an offer."""
GATHER_WITHIN_S = 2
"""How long a worker looks for its own addresses; then it answers with those it has."""
MAX_SDP = 65_536

Sdp = Annotated[str, Meta(min_length=1, max_length=MAX_SDP), PERSONAL]


class IceServer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a peer learns its own address (``stun:``), or what passes its sound on (``turn:``, ``turns:``)."""

    urls: Annotated[tuple[str, ...], Meta(min_length=1, max_length=8)]
    username: Annotated[str, PERSONAL] = ""
    credential: Annotated[str, PERSONAL] = ""


class IceCandidate(Struct, frozen=True, kw_only=True):
    """An address at which a browser may be reached; an empty one says that there are no more."""

    candidate: Annotated[str, Meta(max_length=1000), PERSONAL]
    sdp_mid: Annotated[str, Meta(max_length=64)] | None = None
    sdp_mline_index: Annotated[int, Meta(ge=0, le=1000)] | None = None


class SdpOffered(Struct, frozen=True, kw_only=True, tag_field="type", tag="sdp.offered"):
    """A peer's offer for one epoch of a call. Dropped when it arrives after ``deadline`` (aware UTC).

    ``is_new``: of a connection that the page has made anew; otherwise the one that there is changes. ``peer`` is who
    offers: WhatsApp hears nothing before `SoundAccepted`.
    """

    call_id: CallId
    epoch: Annotated[int, Meta(ge=1)]
    sdp: Sdp
    deadline: Instant
    is_new: bool = False
    ice_servers: tuple[IceServer, ...] = ()
    peer: Literal["browser", "whatsapp"] = "browser"


class CandidatesTold(Struct, frozen=True, kw_only=True, tag_field="type", tag="sdp.candidates"):
    """Addresses of the browser that became known after its offer."""

    call_id: CallId
    epoch: Annotated[int, Meta(ge=1)]
    deadline: Instant
    candidates: Annotated[tuple[IceCandidate, ...], Meta(max_length=64)]


class SdpWanted(Struct, frozen=True, kw_only=True, tag_field="type", tag="sdp.wanted"):
    """A person is to be called over WhatsApp: the reply's ``sdp`` is an offer of the worker's own.

    Whoever is called has ``waits_s`` to pick up.
    """

    call_id: CallId
    epoch: Annotated[int, Meta(ge=1)]
    deadline: Instant
    waits_s: Annotated[float, Meta(gt=0)]
    ice_servers: tuple[IceServer, ...] = ()


class SdpAnswered(Struct, frozen=True, kw_only=True, tag_field="type", tag="sdp.answered"):
    """The person has picked up: WhatsApp's answer to the worker's offer. Sound may flow."""

    call_id: CallId
    epoch: Annotated[int, Meta(ge=1)]
    sdp: Sdp
    deadline: Instant


class SoundAccepted(Struct, frozen=True, kw_only=True, tag_field="type", tag="sdp.accepted"):
    """WhatsApp has taken the call: what the agent says is heard from here on."""

    call_id: CallId
    epoch: Annotated[int, Meta(ge=1)]
    deadline: Instant


class SoundOver(Struct, frozen=True, kw_only=True, tag_field="type", tag="sdp.over"):
    """WhatsApp says that the other side has hung up, or that the call came to nothing."""

    call_id: CallId
    epoch: Annotated[int, Meta(ge=1)]
    deadline: Instant


Told = SdpOffered | CandidatesTold | SdpWanted | SdpAnswered | SoundAccepted | SoundOver
"""Everything that control tells a worker of a call's sound."""


class SdpReply(Struct, frozen=True, kw_only=True):
    """What the worker says: ``sdp`` is its answer to an offer, or its own offer.

    ``unknown``: the epoch is not, or no longer, here.

    ``refused``: the offer is of no use, for the reason in ``detail``.
    """

    outcome: Literal["done", "refused", "unknown", "late"]
    sdp: Annotated[str, PERSONAL] = ""
    detail: str = ""
