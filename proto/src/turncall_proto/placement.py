"""How a call finds a worker: beats, offers and their answers."""

from math import ceil
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from turncall_proto.call import CallStart
from turncall_proto.ids import WorkerId
from turncall_proto.marks import Instant

Pool = Literal["calls", "text"]
Priority = Literal["resumed", "inbound", "outbound", "batch"]
"""Who goes first: a caller whose worker was lost, one who rings, a call asked for by API, a campaign's."""
SHARE: Final[dict[Priority, float]] = {"resumed": 1.0, "inbound": 0.95, "outbound": 0.9, "batch": 0.8}
"""How much of a worker's slots each may fill, so that those before it find some free."""
BEAT_EVERY_S = 0.5
"""Seconds between two beats of a worker."""
SUSPECT_AFTER_S = 1.2
"""A worker silent for this long gets no offers."""
OFFER_WITHIN_S = 0.15
"""How long control waits for the answer to an offer."""
HOLD_SLOT_S = 10.0
"""How long an accepted slot waits for its socket."""


class WorkerBeat(Struct, frozen=True, kw_only=True, tag_field="type", tag="beat"):
    """A worker's state; only the newest matters.

    ``worker`` names one incarnation of a process: a restarted worker has a new id.
    """

    worker: WorkerId
    pool: Pool
    slots_total: Annotated[int, Meta(ge=0)]
    slots_used: Annotated[int, Meta(ge=0, description="Live and reserved.")]
    lag_ms: Annotated[float, Meta(ge=0, description="Event loop lag, 99th percentile of the last seconds.")]
    version: str
    media_url: Annotated[str, Meta(description="What a carrier connects to: ws(s)://host[:port], without a path.")]
    is_draining: bool = False
    cpu_share: Annotated[
        float, Meta(ge=0, description="CPU time of the last seconds by one core's; 1 is all of it.")
    ] = 0.0
    is_overloaded: Annotated[bool, Meta(description="By lag or CPU: it takes nobody but resumed callers.")] = False


class CallOffer(Struct, frozen=True, kw_only=True, tag_field="type", tag="offer"):
    """Control asks one worker to reserve a slot. Dropped when it arrives after ``deadline`` (aware UTC)."""

    plan: CallStart
    deadline: Instant
    priority: Priority = "inbound"


class OfferReply(Struct, frozen=True, kw_only=True):
    """The worker is the last judge of what it can carry."""

    worker: WorkerId
    answer: Literal["accepted", "full", "draining", "late", "unfit"]
    detail: str = ""


def slots_for(priority: Priority, slots_total: int) -> int:
    """How many slots of a worker may be in use after a call of this priority was taken.

    Rounded up: from 20 slots on one is kept for callers who lost their worker, and a small worker keeps none.
    """
    return ceil(slots_total * SHARE[priority] - 1e-9)
