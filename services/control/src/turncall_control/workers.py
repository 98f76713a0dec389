"""The media workers as their beats show them: who is alive, who has room, and whose silence means death."""

import random
import time
from collections.abc import Callable, Collection

from msgspec import Struct

from turncall_bus.bus import Bus, Subscription
from turncall_proto.codec import MalformedMessage, decode
from turncall_proto.ids import WorkerId
from turncall_proto.placement import SUSPECT_AFTER_S, Pool, Priority, WorkerBeat, slots_for
from turncall_proto.subjects import ALL_BEATS
from turncall_runtime import logs

DEAD_AFTER_S = 2.5
"""A worker silent for this long has lost its calls."""
MISTRUST_S = 5.0
"""For this long after it was cut off from the bus a replica takes nobody's silence for death."""
STOOD_STILL_S = 1.0
"""A process that did not come to look for this long has not read its beats either."""
TOGETHER_S = 3.0
TOGETHER_COUNT = 4
TOGETHER_SHARE = 0.3
"""When so many fall silent within `TOGETHER_S`, and more than this share, the network did it, not the workers."""
FREEZE_S = 30.0
"""How long such a silence holds judgement up: if those workers are dead after all, their callers hear nothing."""
FORGET_AFTER_S = 600.0
"""A worker silent for this long leaves the view; a restarted one has a new id anyway."""
LAGGING_MS = 20.0
"""Above this event loop lag, audio frames come late: such a worker gets calls when no other has room."""

log = logs.logger(__name__)


class _Seen(Struct):
    beat: WorkerBeat
    at_s: float
    placed_since: int = 0
    is_suspect: bool = False

    def free(self, priority: Priority) -> int:
        return slots_for(priority, self.beat.slots_total) - self.beat.slots_used - self.placed_since

    def takes(self, priority: Priority) -> bool:
        is_able = not self.beat.is_draining and (priority == "resumed" or not self.beat.is_overloaded)
        return is_able and self.free(priority) > 0


class Workers:
    """This replica's view of every worker, kept by `heard`; nothing is asked over the network.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since_s = clock()
        self._seen: dict[WorkerId, _Seen] = {}
        self._unheard: dict[WorkerId, float] = {}
        self._looked_at_s = self._since_s
        self._connected_since_s: float | None = None
        self._gap_at_s: float | None = None
        self._stood_at_s: float | None = None

    def look(self, is_connected: bool) -> None:
        """Notes whether beats can be heard at this moment. To be called a few times a second."""
        now_s = self._clock()
        stood_still = now_s - self._looked_at_s > STOOD_STILL_S
        self._looked_at_s = now_s
        was_connected = self._connected_since_s is not None or self._gap_at_s is not None
        if stood_still:
            self._stood_at_s = now_s
        if was_connected and not is_connected:
            self._gap_at_s = now_s
        if not is_connected:
            self._connected_since_s = None
        elif self._connected_since_s is None:
            self._connected_since_s = now_s

    @property
    def is_cut_off(self) -> bool:
        """Whether this replica cannot reach the bus, or could not until lately: words may be on their way."""
        return self._connected_since_s is None or self._is_within(MISTRUST_S, self._gap_at_s)

    @property
    def may_judge(self) -> bool:
        """Whether this replica has listened for long enough to tell death from not having heard."""
        connected_s = 0.0 if self._connected_since_s is None else self._clock() - self._connected_since_s
        return connected_s >= DEAD_AFTER_S and not self.is_cut_off and not self._is_within(MISTRUST_S, self._stood_at_s)

    @property
    def fell_silent_together(self) -> int:
        """How many workers fell silent together, if they are so many that it must be the network; 0 otherwise."""
        now_s = self._clock()
        silent = sorted(
            seen.at_s
            for seen in self._seen.values()
            if SUSPECT_AFTER_S < now_s - seen.at_s < FREEZE_S and not seen.beat.is_draining
        )
        alive = sum(now_s - seen.at_s <= SUSPECT_AFTER_S for seen in self._seen.values())
        most = max((sum(0 <= at_s - first_s <= TOGETHER_S for at_s in silent) for first_s in silent), default=0)
        return most if most >= TOGETHER_COUNT and most > TOGETHER_SHARE * (alive + most) else 0

    def heard_lately(self) -> list[WorkerId]:
        """Workers whose silence, if any, is too short to mean death."""
        since_s = self._clock() - DEAD_AFTER_S
        return [worker for worker, seen in self._seen.items() if seen.at_s >= since_s]

    def dead(self, owners: Collection[WorkerId]) -> dict[WorkerId, float]:
        """Those of all the workers that own live calls who are dead, and for how many seconds they have been silent.

        A worker that was never heard is silent from when it was asked about first.
        """
        now_s = self._clock()
        self._unheard = {worker: self._unheard.get(worker, now_s) for worker in owners if worker not in self._seen}
        if not self.may_judge or self.fell_silent_together:
            return {}
        heard_s = {worker: seen.at_s for worker, seen in self._seen.items() if worker in owners} | self._unheard
        return {worker: now_s - at_s for worker, at_s in heard_s.items() if now_s - at_s >= DEAD_AFTER_S}

    def is_behind(self, pool: Pool) -> bool:
        """Whether a worker that this view does not show may be heard at any moment.

        The view is young, or this process stood still and has not read the beats of that time, or a worker's beat is
        late by less than what means death.
        """
        now_s = self._clock()
        stands_still = now_s - self._looked_at_s > STOOD_STILL_S or self._is_within(SUSPECT_AFTER_S, self._stood_at_s)
        ages_s = [now_s - seen.at_s for seen in self._seen.values() if seen.beat.pool == pool]
        is_late = any(SUSPECT_AFTER_S < age_s < DEAD_AFTER_S for age_s in ages_s)
        return self._is_within(SUSPECT_AFTER_S, self._since_s) or stands_still or is_late

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

    def seen(self) -> list[tuple[WorkerBeat, float]]:
        """The last beat of every worker heard in the last minutes, of all pools, and its age in seconds."""
        now_s = self._clock()
        return [(seen.beat, now_s - seen.at_s) for seen in self._seen.values()]

    def choose(
        self, pool: Pool, without: Collection[WorkerId] = (), priority: Priority = "inbound"
    ) -> WorkerBeat | None:
        """The better of two random workers that have room, or None; one that lags only while all of them do.

        One that says that it is overloaded has room for nobody but resumed callers, and for them last of all.

        One that left an offer unanswered since its last beat is nobody's choice while another one is left: it may have
        died just now, and with it the calls that are being placed again.

        Two at random keep many replicas from all picking the one least loaded worker of half a second ago.
        """
        able = [seen for seen in self._fresh(pool) if seen.takes(priority) and seen.beat.worker not in without]
        if not able:
            return None
        able = [seen for seen in able if not seen.is_suspect] or able
        able = [seen for seen in able if not seen.beat.is_overloaded] or able
        swift = [seen for seen in able if seen.beat.lag_ms <= LAGGING_MS] or able
        drawn = random.sample(swift, min(2, len(swift)))
        return max(drawn, key=lambda seen: seen.free(priority)).beat

    def suspect(self, worker: WorkerId) -> None:
        """Notes that the worker did not answer; its next beat clears it."""
        if worker in self._seen:
            self._seen[worker].is_suspect = True

    def room(self, pool: Pool, priority: Priority) -> int:
        """How many more calls of this priority the workers that are alive can take together."""
        return sum(seen.free(priority) for seen in self._fresh(pool) if seen.takes(priority))

    def placed(self, worker: WorkerId) -> None:
        """Counts a slot that the worker's last beat does not show yet."""
        if worker in self._seen:
            self._seen[worker].placed_since += 1

    def _is_within(self, seconds: float, at_s: float | None) -> bool:
        return at_s is not None and self._clock() - at_s < seconds

    def _fresh(self, pool: Pool) -> list[_Seen]:
        since_s = self._clock() - SUSPECT_AFTER_S
        return [seen for seen in self._seen.values() if seen.beat.pool == pool and seen.at_s >= since_s]


async def watch(bus: Bus, workers: Workers) -> Subscription:
    """Feeds every worker's beats into ``workers`` until the subscription is closed."""
    return await bus.hear(ALL_BEATS, workers.heard)
