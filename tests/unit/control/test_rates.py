"""Buckets in one process, while Redis is away, and whose address a request bears."""

from ipaddress import ip_network

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisAway

from turncall_control.http.address import client_address, neighbourhood
from turncall_control.rates import AWAY_S, Bucket, Rates


class Clock:
    """Seconds that a test owns."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class AwayRedis(Redis):
    """A server that refuses every connection, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def execute_command(self, *args, **options):
        """What each command does."""
        self.asked += 1
        raise RedisAway("refused")


@pytest.fixture
def clock():
    """The test's clock."""
    return Clock()


@pytest.fixture
def redis():
    """A Redis that is away."""
    return AwayRedis()


@pytest.fixture
def rates(redis, clock):
    """Buckets over it."""
    return Rates(redis, clock)


def bucket(of="a", per_minute=60, name="key"):
    """One bucket."""
    return Bucket(name=name, of=of, per_minute=per_minute)


async def test_limit_holds_while_redis_is_away(rates, clock):
    """A minute's worth is admitted at once, the next is refused with the time to wait, and admitted after it."""
    told = [(await rates.take([bucket()])).remaining for _ in range(60)]
    assert told == list(range(59, -1, -1))
    refused = await rates.take([bucket()])
    assert (refused.is_admitted, refused.retry_after_s, refused.remaining) == (False, 1, 0)
    assert refused.headers["Retry-After"] == "1"
    assert (await rates.take([bucket(of="b")])).is_admitted
    clock.now_s += 1
    assert (await rates.take([bucket()])).is_admitted
    assert not (await rates.take([bucket()])).is_admitted


async def test_server_that_is_away_is_asked_once_a_second(rates, redis, clock):
    """Requests do not each wait for a server that is away."""
    for _ in range(10):
        await rates.take([bucket()])
    assert redis.asked == 1
    clock.now_s += AWAY_S
    for _ in range(10):
        await rates.take([bucket()])
    assert redis.asked == 2


async def test_refusal_charges_no_bucket(rates):
    """A key that may not ask takes nothing from its address."""
    wide, narrow = bucket(of="address", per_minute=100), bucket(of="key", per_minute=1)
    first = await rates.take([wide, narrow])
    assert (first.is_admitted, first.bucket.of) == (True, "key")
    for _ in range(5):
        assert (await rates.take([wide, narrow])).bucket.of == "key"
    assert (await rates.take([wide], cost=0)).remaining == 99


async def test_look_charges_nothing(rates):
    """Looking at a bucket leaves it as it is."""
    for _ in range(5):
        assert (await rates.take([bucket(per_minute=2)], cost=0)).remaining == 2


async def test_buckets_of_a_flood_are_bounded(rates, monkeypatch):
    """A flood from many addresses keeps no more buckets than the bound, and the newest stay."""
    monkeypatch.setattr("turncall_control.rates.LOCAL_BUCKETS", 100)
    for number in range(150):
        await rates.take([bucket(of=str(number), per_minute=1)])
    assert len(rates._full_at_us) == 100
    assert not (await rates.take([bucket(of="149", per_minute=1)])).is_admitted


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("203.0.113.9", ["198.51.100.7"], [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.7"], PROXIES, "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.7"], PROXIES, "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.7"], PROXIES, "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7, 10.0.0.2"], PROXIES, "198.51.100.7"),
        ("10.0.0.1", ["nonsense"], PROXIES, "10.0.0.1"),
        ("10.0.0.1", [], PROXIES, "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3"], PROXIES, "10.0.0.3"),
        ("fd00::1", ["2001:db8::7"], PROXIES, "2001:db8::7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], PROXIES, "198.51.100.7"),
        (None, ["198.51.100.7"], PROXIES, ""),
    ],
)
def test_forwarded_address_is_believed_only_from_trusted_proxies(peer, forwarded, trusted, expected):
    """The address is the rightmost that no trusted proxy has; what stands left of it is not read."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "client": (peer, 5) if peer else None, "headers": headers}
    assert client_address(scope, trusted) == expected


def test_addresses_of_one_ipv6_network_count_together():
    """A client owns a /64: it does not get a new bucket with each of its addresses."""
    assert neighbourhood("2001:db8:1:2::3") == neighbourhood("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert neighbourhood("198.51.100.7") == "198.51.100.7"
