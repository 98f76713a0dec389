"""A media worker as the operator sees it."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_proto.ids import WorkerId
from turncall_proto.placement import Pool


class WorkerView(Struct, frozen=True, kw_only=True):
    """One process of the media plane, by its last beat."""

    id: Annotated[WorkerId, Meta(description="Of one incarnation: a restarted worker has a new one.")]
    pool: Pool
    slots_total: int
    slots_used: Annotated[int, Meta(description="Live and reserved.")]
    lag_ms: Annotated[float, Meta(description="Event loop lag, 99th percentile of 5 s.")]
    cpu_share: Annotated[float, Meta(description="CPU of 5 s; 1 is all of a core.")]
    is_overloaded: Annotated[bool, Meta(description="It refuses new calls although slots are free.")]
    is_draining: bool
    is_silent: Annotated[bool, Meta(description="Its beats stay away: it ended, or cannot be reached.")]
    last_beat_s: Annotated[float, Meta(description="Seconds since its last beat.")]
    version: str
    media_url: str


class WorkersSeen(Struct, frozen=True, kw_only=True):
    """The workers that this replica heard in the last ten minutes."""

    items: tuple[WorkerView, ...]


class DrainAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a worker is to drain."""

    handover_after_s: Annotated[
        Annotated[float, Meta(ge=0, le=14_400)] | None,
        Meta(
            description="How long its calls may end by themselves before another worker goes on with them, from the"
            " next moment in which nobody speaks. Null for the worker's own setting."
        ),
    ] = None


class DrainTaken(Struct, frozen=True, kw_only=True):
    """The worker takes no more calls, and ends when it has none."""

    worker: WorkerId
