"""How often somebody may ask: buckets in Redis that all replicas share, and in this process while Redis is away.

The generic cell rate algorithm (ITU-T I.371): a bucket is one moment, the one at which it will be full again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from math import ceil
from typing import Final

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

WITHIN_S: Final = 0.25
"""A request waits no longer than this for Redis."""
AWAY_S: Final = 1.0
"""After Redis did not answer, this process counts alone for as long, before one request asks it again."""
LOCAL_BUCKETS: Final = 50_000
_MINUTE_US: Final = 60_000_000

# Every bucket has room, or none is charged. Times are whole microseconds of the server's own clock.
_TAKE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local cost = tonumber(ARGV[1])
local answer, full_at, is_admitted = {}, {}, 1
for i, key in ipairs(KEYS) do
  local interval, capacity = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  full_at[i] = math.max(tonumber(redis.call('GET', key) or 0), now)
  local wait = full_at[i] + interval - now - interval * capacity
  if wait > 0 then is_admitted = 0 end
  answer[2 * i] = math.max(0, wait)
end
for i, key in ipairs(KEYS) do
  local interval = tonumber(ARGV[2 * i])
  if is_admitted == 1 and cost > 0 then
    full_at[i] = full_at[i] + interval * cost
    redis.call('SET', key, string.format('%.0f', full_at[i]), 'PX', math.ceil((full_at[i] - now) / 1000))
  end
  answer[2 * i - 1] = full_at[i] - now
end
return answer
"""


class Bucket(Struct, frozen=True, kw_only=True):
    """``per_minute`` requests at once, and as many again over the next minute, of ``of``: a key, an address."""

    name: str
    of: str
    per_minute: int

    @property
    def interval_us(self) -> int:
        """The time in which one request's room comes back."""
        return max(1, _MINUTE_US // self.per_minute)


class Verdict(Struct, frozen=True, kw_only=True):
    """What a bucket says: whether there was room, what is left, when to come back, when it is full again."""

    bucket: Bucket
    remaining: int
    retry_after_s: int
    full_in_s: int

    @property
    def is_admitted(self) -> bool:
        """Whether the request may go on."""
        return self.retry_after_s == 0

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10), and Retry-After (RFC 9110) for a refusal."""
        told = {
            "RateLimit-Policy": f'"{self.bucket.name}";q={self.bucket.per_minute};w=60',
            "RateLimit": f'"{self.bucket.name}";r={self.remaining};t={self.full_in_s}',
        }
        return told if self.is_admitted else told | {"Retry-After": str(self.retry_after_s)}


class Rates:
    """The buckets. ``clock`` gives monotonic seconds."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._take = redis.register_script(_TAKE)
        self._away_until_s = 0.0
        self._full_at_us: dict[tuple[str, str], int] = {}

    async def take(self, buckets: Sequence[Bucket], *, cost: int = 1) -> Verdict:
        """Charges every bucket, or none if one has no room; the verdict of the tightest. ``cost=0`` only looks.

        Never raises for Redis: while it is away each process counts for itself.
        """
        now_s = self._clock()
        if now_s < self._away_until_s:
            return self._counted_here(buckets, cost)
        if self._away_until_s:
            # One request asks a server that was away; those beside it do not wait for the answer.
            self._away_until_s = now_s + AWAY_S
        try:
            verdict = await self._asked(buckets, cost)
        except (RedisError, OSError, TimeoutError):
            self._away_until_s = self._clock() + AWAY_S
            return self._counted_here(buckets, cost)
        self._away_until_s = 0.0
        return verdict

    async def _asked(self, buckets: Sequence[Bucket], cost: int) -> Verdict:
        keys = [f"tc:rate:{bucket.name}:{bucket.of}" for bucket in buckets]
        limits = [number for bucket in buckets for number in (bucket.interval_us, bucket.per_minute)]
        async with asyncio.timeout(WITHIN_S):
            answer = await self._take(keys=keys, args=[cost, *limits])
        return _tightest(
            [_verdict(bucket, *answer[2 * i : 2 * i + 2]) for i, bucket in enumerate(buckets)],
        )

    def _counted_here(self, buckets: Sequence[Bucket], cost: int) -> Verdict:
        now_us = int(self._clock() * 1_000_000)
        full_at = [max(self._full_at_us.get((bucket.name, bucket.of), 0), now_us) for bucket in buckets]
        waits = [
            max(0, at + bucket.interval_us - now_us - bucket.interval_us * bucket.per_minute)
            for bucket, at in zip(buckets, full_at, strict=True)
        ]
        if cost and not any(waits):
            full_at = [at + bucket.interval_us * cost for bucket, at in zip(buckets, full_at, strict=True)]
            for bucket, at in zip(buckets, full_at, strict=True):
                self._remember((bucket.name, bucket.of), at)
        return _tightest(
            [_verdict(*about) for about in zip(buckets, (at - now_us for at in full_at), waits, strict=True)]
        )

    def _remember(self, key: tuple[str, str], full_at_us: int) -> None:
        """The one that was charged longest ago leaves when there are too many."""
        self._full_at_us.pop(key, None)
        while len(self._full_at_us) >= LOCAL_BUCKETS:
            del self._full_at_us[next(iter(self._full_at_us))]
        self._full_at_us[key] = full_at_us


def _verdict(bucket: Bucket, full_in_us: int, wait_us: int) -> Verdict:
    return Verdict(
        bucket=bucket,
        remaining=max(0, bucket.per_minute - ceil(full_in_us / bucket.interval_us)),
        retry_after_s=ceil(wait_us / 1_000_000),
        full_in_s=ceil(full_in_us / 1_000_000),
    )


def _tightest(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: (verdict.retry_after_s, -verdict.remaining))
