"""The media workers as their beats show them: who is alive, and who has room."""

import random
import time
from collections.abc import Callable, Collection

from msgspec import Struct

from turncall_bus.bus import Bus, Subscription
from turncall_proto.codec import MalformedMessage, decode
from turncall_proto.ids import WorkerId
from turncall_proto.placement import SUSPECT_AFTER_S, Pool, WorkerBeat
from turncall_proto.subjects import ALL_BEATS
from turncall_runtime import logs

FORGET_AFTER_S = 30.0
"""A worker silent for this long leaves the view; a restarted one has a new id anyway."""
LAGGING_MS = 20.0
"""Above this event loop lag, audio frames come late: such a worker is the second choice."""

log = logs.logger(__name__)


class _Seen(Struct):
    beat: WorkerBeat
    at_s: float
    placed_since: int = 0

    @property
    def free(self) -> int:
        return self.beat.slots_total - self.beat.slots_used - self.placed_since


class Workers:
    """This replica's view of every worker, kept by `heard`; nothing is asked over the network.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since_s = clock()
        self._seen: dict[WorkerId, _Seen] = {}

    @property
    def is_young(self) -> bool:
        """Whether this view has not been kept for long enough to have heard everybody who lives."""
        return self._clock() - self._since_s < SUSPECT_AFTER_S

    async def heard(self, subject: str, data: bytes) -> None:
        """Takes in one beat; a malformed one is dropped, since the next is half a second away."""
        try:
            beat = decode(data, WorkerBeat)
        except MalformedMessage as error:
            log.warning("worker.beat_malformed", subject=subject, error=str(error))
            return
        now_s = self._clock()
        self._seen[beat.worker] = _Seen(beat=beat, at_s=now_s)
        for worker in [worker for worker, seen in self._seen.items() if now_s - seen.at_s > FORGET_AFTER_S]:
            del self._seen[worker]

    def alive(self, pool: Pool) -> list[WorkerBeat]:
        """Workers of a pool heard from lately, draining and full ones included."""
        return [seen.beat for seen in self._fresh(pool)]

    def choose(self, pool: Pool, without: Collection[WorkerId] = ()) -> WorkerBeat | None:
        """The better of two random workers that have room, or None.

        Two at random keep many replicas from all picking the one least loaded worker of half a second ago.
        """
        able = [
            seen
            for seen in self._fresh(pool)
            if seen.free > 0 and not seen.beat.is_draining and seen.beat.worker not in without
        ]
        if not able:
            return None
        drawn = random.sample(able, min(2, len(able)))
        return min(drawn, key=lambda seen: (seen.beat.lag_ms > LAGGING_MS, -seen.free)).beat

    def placed(self, worker: WorkerId) -> None:
        """Counts a slot that the worker's last beat does not show yet."""
        if worker in self._seen:
            self._seen[worker].placed_since += 1

    def _fresh(self, pool: Pool) -> list[_Seen]:
        since_s = self._clock() - SUSPECT_AFTER_S
        return [seen for seen in self._seen.values() if seen.beat.pool == pool and seen.at_s >= since_s]


async def watch(bus: Bus, workers: Workers) -> Subscription:
    """Feeds every worker's beats into ``workers`` until the subscription is closed."""
    return await bus.hear(ALL_BEATS, workers.heard)
