"""What every bus promises, held against the one in memory and the one on a real NATS server."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import msgspec
import pytest

from turncall_bus.bus import (
    Away,
    Bus,
    Delivered,
    NoAnswer,
    NobodyListens,
    NotLast,
    Parked,
    Postponed,
    Refused,
)
from turncall_bus.memory import MemoryBus
from turncall_bus.nats import connect
from turncall_proto import subjects
from turncall_proto.subjects import TC_DEAD, StreamSpec
from turncall_testkit.nats_server import NatsServer

FACTS = StreamSpec(
    name="TEST_FACTS", subjects=("test.facts.>",), retention="limits", max_age_s=3600, max_bytes=50_000_000
)
JOBS = StreamSpec(
    name="TEST_JOBS", subjects=("test.jobs.>",), retention="workqueue", max_age_s=3600, max_bytes=10_000_000
)
SMALL = StreamSpec(name="TEST_SMALL", subjects=("test.small.>",), retention="limits", max_age_s=3600, max_bytes=4096)

numbers = count(1)


class Rig:
    """A prepared bus and the means to take it away; each test works on subjects and consumers of its own."""

    def __init__(
        self, bus: Bus, go_away: Callable[[], Awaitable[None]], come_back: Callable[[], Awaitable[None]]
    ) -> None:
        self.bus = bus
        self.go_away = go_away
        self.come_back = come_back
        self.number = next(numbers)

    def fact(self, leaf: str = "a") -> str:
        return f"test.facts.{self.number}.{leaf}"

    @property
    def facts(self) -> str:
        return f"test.facts.{self.number}.>"

    @property
    def durable(self) -> str:
        return f"durable{self.number}"

    async def state(self, how_many: int, *, start: int = 0) -> list[bytes]:
        """Publishes numbered facts."""
        data = [str(number).encode() for number in range(start, start + how_many)]
        for item in data:
            await self.bus.publish(self.fact(), item, message_id=f"{self.number}.{item.decode()}")
        return data

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await self.go_away()
        try:
            yield
        finally:
            await self.come_back()
            await until(lambda: self.bus.is_connected)


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is awaited is a fact of many kinds, and it is a test
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[NatsServer]:
    server = NatsServer()
    try:
        await server.start()
        yield server
    finally:
        await server.remove()


@asynccontextmanager
async def memory_rig() -> AsyncIterator[Rig]:
    bus = MemoryBus()

    async def go_away() -> None:
        bus.go_away()

    async def come_back() -> None:
        bus.come_back()

    yield Rig(bus, go_away, come_back)
    await bus.close()


@asynccontextmanager
async def nats_rig(server: NatsServer) -> AsyncIterator[Rig]:
    bus = await connect(server.url, name="contract")

    async def go_away() -> None:
        await server.stop()
        await until(lambda: not bus.is_connected)

    yield Rig(bus, go_away, server.start)
    await bus.close()


@pytest.fixture(params=["memory", "nats"])
async def rig(request: pytest.FixtureRequest, server: NatsServer) -> AsyncIterator[Rig]:
    async with memory_rig() if request.param == "memory" else nats_rig(server) as rig:
        await rig.bus.prepare([FACTS, JOBS, SMALL, TC_DEAD])
        yield rig


class Taker:
    """A handler that keeps what it was given; ``poison`` always fails, and everything does while ``is_broken``."""

    def __init__(self, *poison: bytes) -> None:
        self.batches: list[list[Delivered]] = []
        self.done: list[bytes] = []
        self.attempts: Counter[bytes] = Counter()
        self.alone: Counter[bytes] = Counter()
        self.poison = poison
        self.is_broken = False

    async def __call__(self, batch: Sequence[Delivered]) -> None:
        self.batches.append(list(batch))
        self.attempts.update(message.data for message in batch)
        if len(batch) == 1:
            self.alone[batch[0].data] += 1
        for message in batch:
            if self.is_broken or message.data in self.poison:
                raise ValueError(f"cannot take {message.data!r}")
        self.done += [message.data for message in batch]


async def parked(rig: Rig, stream: StreamSpec = JOBS) -> list[Parked]:
    """What this test's consumer set aside, once there is something."""
    dead: list[Parked] = []
    async with asyncio.timeout(10):
        while not dead:
            await asyncio.sleep(0.02)
            found = [
                msgspec.json.decode(one.data, type=Parked) for one in await rig.bus.story(subjects.dead(stream.name))
            ]
            dead = [one for one in found if one.durable == rig.durable]
    return dead


# Storing and reading.


async def test_prepare_is_safe_from_many_at_once(rig: Rig) -> None:
    """Processes that start together may all prepare the same streams."""
    fresh = StreamSpec(
        name=f"TEST_P{rig.number}",
        subjects=(f"test.p{rig.number}.>",),
        retention="limits",
        max_age_s=60,
        max_bytes=4096,
    )
    grown = msgspec.structs.replace(fresh, max_age_s=120, duplicate_window_s=60)

    await asyncio.gather(*(rig.bus.prepare([msgspec.structs.replace(fresh, duplicate_window_s=60)]) for _ in range(8)))
    await asyncio.gather(*(rig.bus.prepare([grown]) for _ in range(8)))

    await rig.bus.publish(f"test.p{rig.number}.a", b"x", message_id="1")
    assert await rig.bus.last(f"test.p{rig.number}.a") == b"x"


async def test_publish_says_where_the_message_lies(rig: Rig) -> None:
    """Stream sequences grow by publishing order."""
    first = await rig.bus.publish(rig.fact(), b"1", message_id=f"{rig.number}.1")
    second = await rig.bus.publish(rig.fact(), b"2", message_id=f"{rig.number}.2")

    assert first.stream == second.stream == FACTS.name
    assert second.stream_seq == first.stream_seq + 1
    assert not first.is_duplicate
    assert not second.is_duplicate


async def test_a_repeat_is_not_stored_again(rig: Rig) -> None:
    """The same message id within the window lands once, and the repeat is told where."""
    first = await rig.bus.publish(rig.fact(), b"1", message_id=f"{rig.number}.1")
    repeat = await rig.bus.publish(rig.fact(), b"1", message_id=f"{rig.number}.1")

    assert repeat.is_duplicate
    assert repeat.stream_seq == first.stream_seq
    assert len(await rig.bus.story(rig.facts)) == 1


async def test_the_first_claim_wins(rig: Rig) -> None:
    """Of many who expect that nobody was first, exactly one is stored."""

    async def claim(number: int) -> bool:
        try:
            await rig.bus.publish(rig.fact(), b"%d" % number, message_id=f"{rig.number}.{number}", expect_last=0)
        except NotLast:
            return False
        return True

    won = await asyncio.gather(*(claim(number) for number in range(8)))

    assert won.count(True) == 1
    assert await rig.bus.last(rig.fact()) == b"%d" % won.index(True)


async def test_expectation_is_looked_at_before_the_message_id(rig: Rig) -> None:
    """The repeat of a claim that held is `NotLast`; the last message tells whose it is."""
    await rig.bus.publish(rig.fact(), b"me", message_id=f"{rig.number}", expect_last=0)

    with pytest.raises(NotLast):
        await rig.bus.publish(rig.fact(), b"me", message_id=f"{rig.number}", expect_last=0)
    assert await rig.bus.last(rig.fact()) == b"me"


async def test_expecting_the_right_sequence_holds(rig: Rig) -> None:
    """``expect_last`` with the true last sequence on the subject stores."""
    first = await rig.bus.publish(rig.fact("a"), b"1", message_id=f"{rig.number}.1")
    await rig.bus.publish(rig.fact("b"), b"other", message_id=f"{rig.number}.2")

    ack = await rig.bus.publish(rig.fact("a"), b"2", message_id=f"{rig.number}.3", expect_last=first.stream_seq)

    assert ack.stream_seq > first.stream_seq


async def test_a_subject_without_a_stream_is_refused(rig: Rig) -> None:
    """Publishing where nobody stores says so."""
    with pytest.raises(Refused):
        await rig.bus.publish("nowhere.at.all", b"x", message_id="1")


async def test_a_full_stream_refuses_and_keeps_what_it_has(rig: Rig) -> None:
    """Discard-new: the newest message is the one that is refused."""
    await rig.bus.purge("test.small.>")
    await rig.bus.publish("test.small.a", b"first", message_id=f"{rig.number}.1")

    with pytest.raises(Refused):
        await asyncio.gather(
            *(rig.bus.publish("test.small.a", b"x" * 1000, message_id=f"{rig.number}.{n}") for n in range(2, 20))
        )

    assert (await rig.bus.story("test.small.>"))[0].data == b"first"


async def test_last_is_the_newest_or_none(rig: Rig) -> None:
    """Reading a subject's last message does not need a consumer."""
    assert await rig.bus.last(rig.fact()) is None
    await rig.state(3)
    assert await rig.bus.last(rig.fact()) == b"2"


async def test_a_story_comes_whole_and_in_order(rig: Rig) -> None:
    """Every message under the filter, oldest first, also when it takes more than one batch of the server."""
    data = [b"%d" % number for number in range(2500)]
    publishes = (
        rig.bus.publish(rig.fact(f"leaf{index % 3}"), item, message_id=f"{rig.number}.{index}", timeout_s=10.0)
        for index, item in enumerate(data)
    )
    await asyncio.gather(*publishes)
    await rig.bus.publish(f"test.facts.other{rig.number}.a", b"not ours", message_id=f"{rig.number}.o")

    story = await rig.bus.story(rig.facts)

    assert [stored.data for stored in story] == data
    assert [stored.stream_seq for stored in story] == sorted(stored.stream_seq for stored in story)
    assert {stored.subject for stored in story} == {rig.fact("leaf0"), rig.fact("leaf1"), rig.fact("leaf2")}


async def test_a_story_of_nothing_is_empty(rig: Rig) -> None:
    """A call without a message has an empty story, not an error."""
    assert await rig.bus.story(rig.facts) == []


async def test_a_story_is_read_in_pages(rig: Rig) -> None:
    """A reader goes on behind the last message it saw, and gets no more than it asked for."""
    states = await rig.state(5)
    first = await rig.bus.story(rig.facts, limit=2)
    rest = await rig.bus.story(rig.facts, after=first[-1].stream_seq)
    assert [one.data for one in first + rest] == states
    assert await rig.bus.story(rig.facts, after=rest[-1].stream_seq, limit=2) == []


async def test_one_message_is_removed_and_the_others_stay(rig: Rig) -> None:
    """Removing one leaves its neighbours and is counted; a message that is not there is no error."""
    await rig.state(3)
    before = await rig.bus.fill(FACTS.name)
    victim = (await rig.bus.story(rig.facts))[1]
    await rig.bus.remove(FACTS.name, victim.stream_seq)
    await rig.bus.remove(FACTS.name, victim.stream_seq)
    assert [one.data for one in await rig.bus.story(rig.facts)] == [b"0", b"2"]
    after = await rig.bus.fill(FACTS.name)
    assert after.messages == before.messages - 1
    assert 0 < after.size_bytes < before.size_bytes
    with pytest.raises(Refused):
        await rig.bus.fill("NO_SUCH_STREAM")


async def test_purge_deletes_only_what_the_filter_covers(rig: Rig) -> None:
    """A settled call's subjects are emptied and others are not."""
    await rig.state(3)
    other = f"test.facts.other{rig.number}.a"
    await rig.bus.publish(other, b"stays", message_id=f"{rig.number}.o")

    await rig.bus.purge(rig.facts)

    assert await rig.bus.story(rig.facts) == []
    assert await rig.bus.last(other) == b"stays"


# Asking and telling.


async def test_an_answer_comes_back(rig: Rig) -> None:
    """A request reaches its server and returns its bytes."""

    async def answer(data: bytes) -> bytes:
        return data.upper()

    serving = await rig.bus.serve(f"test.ask.{rig.number}", answer)
    assert await rig.bus.ask(f"test.ask.{rig.number}", b"hello", timeout_s=2.0) == b"HELLO"

    await serving.close()
    with pytest.raises(NobodyListens):
        await rig.bus.ask(f"test.ask.{rig.number}", b"hello", timeout_s=2.0)


async def test_nobody_listening_is_known_at_once(rig: Rig) -> None:
    """An ask without a server fails long before its deadline."""
    async with asyncio.timeout(1.0):
        with pytest.raises(NobodyListens):
            await rig.bus.ask(f"test.ask.{rig.number}", b"", timeout_s=30.0)


async def test_a_silent_or_failing_server_is_no_answer(rig: Rig) -> None:
    """The asker's own deadline ends the wait, and the server goes on with the next request."""
    asked: list[bytes] = []

    async def answer(data: bytes) -> bytes:
        asked.append(data)
        if data == b"fail":
            raise RuntimeError("no")
        if data == b"hang":
            await asyncio.sleep(30)
        return b"yes"

    serving = await rig.bus.serve(f"test.ask.{rig.number}", answer)
    for data in (b"fail", b"hang"):
        with pytest.raises(NoAnswer):
            await rig.bus.ask(f"test.ask.{rig.number}", data, timeout_s=0.1)
    assert await rig.bus.ask(f"test.ask.{rig.number}", b"good", timeout_s=2.0) == b"yes"
    assert asked == [b"fail", b"hang", b"good"]
    with pytest.raises(TimeoutError):  # a close that is given up cancels what hangs
        async with asyncio.timeout(0.05):
            await serving.close()


async def test_replicas_in_a_queue_share_requests(rig: Rig) -> None:
    """Each request goes to one replica of the group, and all of them get some."""
    served: Counter[int] = Counter()

    def replica(number: int) -> Callable[[bytes], Awaitable[bytes]]:
        async def answer(data: bytes) -> bytes:
            served[number] += 1
            return data

        return answer

    for number in range(2):
        await rig.bus.serve(f"test.ask.{rig.number}", replica(number), queue="control")
    await asyncio.gather(*(rig.bus.ask(f"test.ask.{rig.number}", b"", timeout_s=5.0) for _ in range(200)))

    assert served.total() == 200
    assert min(served.values()) > 40


async def test_a_server_answers_no_more_at_once_than_it_said(rig: Rig) -> None:
    """``at_once`` bounds the requests under way; the others wait and are answered too."""
    under_way = most = 0

    async def answer(data: bytes) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return data

    await rig.bus.serve(f"test.ask.{rig.number}", answer, at_once=3)
    answers = await asyncio.gather(
        *(rig.bus.ask(f"test.ask.{rig.number}", b"%d" % number, timeout_s=5.0) for number in range(20))
    )

    assert answers == [b"%d" % number for number in range(20)]
    assert most == 3


async def test_closing_a_server_waits_for_the_answer_under_way(rig: Rig) -> None:
    """A request that has begun is answered although its server closes."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(data: bytes) -> bytes:
        begun.set()
        await go_on.wait()
        return b"done"

    serving = await rig.bus.serve(f"test.ask.{rig.number}", answer)
    asking = asyncio.create_task(rig.bus.ask(f"test.ask.{rig.number}", b"", timeout_s=5.0))
    await begun.wait()
    closing = asyncio.create_task(serving.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    go_on.set()

    assert await asking == b"done"
    await closing
    await serving.close()


async def test_a_server_may_close_itself(rig: Rig) -> None:
    """A command that ends the call closes the subscription it came by."""
    closed = asyncio.Event()

    async def answer(data: bytes) -> bytes:
        await serving.close()
        closed.set()
        return b"bye"

    serving = await rig.bus.serve(f"test.ask.{rig.number}", answer)
    assert await rig.bus.ask(f"test.ask.{rig.number}", b"", timeout_s=2.0) == b"bye"
    assert closed.is_set()


async def test_listeners_hear_everything_in_order(rig: Rig) -> None:
    """One message after another, also when the listener is slow; a failing one does not stop the next."""
    heard: list[tuple[str, bytes]] = []

    async def listen(subject: str, data: bytes) -> None:
        await asyncio.sleep(0)
        if data == b"13":
            raise RuntimeError("unlucky")
        heard.append((subject, data))

    await rig.bus.hear(f"test.live.{rig.number}.*", listen)
    for number in range(100):
        await rig.bus.tell(f"test.live.{rig.number}.{number % 2}", b"%d" % number)
    await until(lambda: len(heard) == 99)

    wanted = [(f"test.live.{rig.number}.{number % 2}", b"%d" % number) for number in range(100) if number != 13]
    assert heard == wanted


async def test_closing_a_listener_ends_it(rig: Rig) -> None:
    """After close nothing is heard any more."""
    heard: list[bytes] = []

    async def listen(_: str, data: bytes) -> None:
        heard.append(data)

    hearing = await rig.bus.hear(f"test.live.{rig.number}", listen)
    await rig.bus.tell(f"test.live.{rig.number}", b"1")
    await until(lambda: heard == [b"1"])
    await hearing.close()
    await rig.bus.tell(f"test.live.{rig.number}", b"2")
    await asyncio.sleep(0.02)

    assert heard == [b"1"]


# Consuming.


@pytest.mark.parametrize("reads_ahead", [False, True])
async def test_a_consumer_gets_every_message_once(rig: Rig, reads_ahead: bool) -> None:
    """What was there before and what comes after is handled, in order, and not again."""
    before = await rig.state(50)
    take = Taker()
    consuming = await rig.bus.consume(
        FACTS.name, rig.durable, take, subject=rig.facts, batch=20, reads_ahead=reads_ahead
    )
    after = await rig.state(50, start=50)
    await until(lambda: len(take.done) >= 100)
    await consuming.close()

    assert take.done == before + after
    assert max(len(batch) for batch in take.batches) <= 20
    assert all(message.delivery == 1 for batch in take.batches for message in batch)


async def test_a_lone_message_is_handled_soon(rig: Rig) -> None:
    """A message that comes after a quiet time waits for ``wait_s``, not for a poll."""
    take = Taker()
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts)
    await asyncio.sleep(0.1)
    await rig.state(1)

    async with asyncio.timeout(0.5):
        await until(lambda: len(take.done) == 1)


async def test_replicas_share_a_durable(rig: Rig) -> None:
    """Two processes on one durable name handle each message once between them."""
    takes = (Taker(), Taker())
    for take in takes:
        await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts, batch=5, wait_s=0.001)
    data = await rig.state(200)
    await until(lambda: sum(len(take.done) for take in takes) >= 200)

    assert sorted(takes[0].done + takes[1].done) == sorted(data)


async def test_a_consumer_goes_on_where_the_last_one_stopped(rig: Rig) -> None:
    """The durable remembers; what was acked does not come again, what was not handled does."""
    first = await rig.state(10)
    take = Taker()
    consuming = await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts)
    await until(lambda: len(take.done) == 10)
    await consuming.close()
    second = await rig.state(10, start=10)

    again = Taker()
    consuming = await rig.bus.consume(FACTS.name, rig.durable, again, subject=rig.facts)
    await until(lambda: len(again.done) >= 10)
    await consuming.close()

    assert take.done == first
    assert again.done == second


async def test_an_unacked_message_comes_again(rig: Rig) -> None:
    """A handler that dies in the middle does not lose the message: another one gets it after a while."""
    hangs = asyncio.Event()

    async def hang(_: Sequence[Delivered]) -> None:
        hangs.set()
        await asyncio.Event().wait()

    dying = await rig.bus.consume(FACTS.name, rig.durable, hang, subject=rig.facts, redeliver_after_s=0.3)
    data = await rig.state(3)
    await hangs.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await dying.close()

    take = Taker()
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts, redeliver_after_s=0.3)
    await until(lambda: len(take.done) >= 3)
    assert sorted(take.done) == data


@pytest.mark.parametrize("reads_ahead", [False, True])
async def test_closing_waits_for_the_batch_in_hand(rig: Rig, reads_ahead: bool) -> None:
    """The batch that is being handled is finished and acked; then nothing more is, and others get the rest at once."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    done: list[bytes] = []

    async def handle(batch: Sequence[Delivered]) -> None:
        begun.set()
        await go_on.wait()
        done.extend(message.data for message in batch)

    await rig.state(5)
    consuming = await rig.bus.consume(
        FACTS.name, rig.durable, handle, subject=rig.facts, batch=2, reads_ahead=reads_ahead
    )
    await begun.wait()
    closing = asyncio.create_task(consuming.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    go_on.set()
    await closing
    assert done == [b"0", b"1"]

    take = Taker()
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts)
    await until(lambda: len(take.done) >= 3)
    assert sorted(take.done) == [b"2", b"3", b"4"]


async def test_poison_is_set_aside_and_the_others_go_through(rig: Rig) -> None:
    """One bad message fails its batch once, is tried alone ``park_after`` times, and lands in the dead stream."""
    take = Taker(b"3")
    await rig.state(8)
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts, park_after=3)
    await until(lambda: len(take.done) == 7)
    dead = await parked(rig, FACTS)

    assert sorted(take.done) == [b"0", b"1", b"2", b"4", b"5", b"6", b"7"]
    assert take.alone[b"3"] == 3
    assert [one.data for one in dead] == [b"3"]
    assert dead[0].subject == rig.fact()
    assert dead[0].error == "ValueError: cannot take b'3'"
    more = await rig.state(5, start=20)
    await until(lambda: take.done[-1] == more[-1])
    assert take.alone[b"3"] == 3


async def test_several_poisons_are_all_set_aside(rig: Rig) -> None:
    """Bad messages at the head of a batch do not hold the good ones behind them."""
    poison = tuple(b"%d" % number for number in range(5))
    take = Taker(*poison)
    await rig.state(20)
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts, park_after=2)
    await until(lambda: len(take.done) == 15)

    assert sorted(take.done) == sorted(b"%d" % number for number in range(5, 20))


async def test_a_broken_handler_parks_nothing(rig: Rig) -> None:
    """While nothing goes through (the database is away) every message waits, however often it is tried."""
    take = Taker()
    take.is_broken = True
    data = await rig.state(10)
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts, park_after=1)
    await until(lambda: take.alone.total() >= 6)
    take.is_broken = False
    await until(lambda: len(take.done) >= 10)

    assert sorted(take.done) == data
    dead = [msgspec.json.decode(one.data, type=Parked) for one in await rig.bus.story(subjects.dead(FACTS.name))]
    assert rig.durable not in {one.durable for one in dead}


async def test_a_failing_message_does_not_hold_new_ones(rig: Rig) -> None:
    """A lone message that always fails is tried with a back-off, and what comes meanwhile goes straight through."""
    take = Taker(b"0")
    await rig.state(1)
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts)
    await until(lambda: take.attempts[b"0"] >= 4)
    await rig.state(1, start=1)

    async with asyncio.timeout(0.5):
        await until(lambda: take.done == [b"1"])


async def test_a_work_queue_forgets_what_is_done(rig: Rig) -> None:
    """An acked job is gone from its stream."""
    take = Taker()
    subject = f"test.jobs.{rig.number}"
    await rig.bus.publish(subject, b"job", message_id=f"{rig.number}")
    consuming = await rig.bus.consume(JOBS.name, rig.durable, take, subject=subject)
    await until(lambda: take.done == [b"job"])
    await consuming.close()
    async with asyncio.timeout(2):  # the server takes acks in its own time
        while await rig.bus.last(subject) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_consuming_what_does_not_exist_is_refused(rig: Rig) -> None:
    """A wrong stream name is told to the caller, not to the log."""
    with pytest.raises(Refused):
        await rig.bus.consume("TEST_NONE", rig.durable, Taker(), subject="test.none.>")


# Working.


class Worker:
    """Works on jobs: ``held`` ones wait until they are released, ``broken`` ones fail."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.done: list[bytes] = []
        self.tries: Counter[bytes] = Counter()
        self.broken: set[bytes] = set()
        self.held: dict[bytes, asyncio.Event] = {}

    async def __call__(self, job: Delivered) -> None:
        self.begun.append(job.data)
        self.tries[job.data] += 1
        if job.data in self.held:
            await self.held[job.data].wait()
        if job.data in self.broken:
            raise ValueError(f"cannot do {job.data!r}")
        self.done.append(job.data)


async def order(rig: Rig, *jobs: bytes) -> str:
    subject = f"test.jobs.{rig.number}"
    for job in jobs:
        await rig.bus.publish(subject, job, message_id=f"{rig.number}.{job.decode()}")
    return subject


async def test_jobs_run_side_by_side_and_a_slow_one_holds_no_other(rig: Rig) -> None:
    """So many at once as was said; the next one begins when any of them is done, and done ones leave the queue."""
    work = Worker()
    work.held = {b"slow": asyncio.Event()}
    subject = await order(rig, b"slow", b"1", b"2", b"3")
    working = await rig.bus.work(JOBS.name, rig.durable, work, subject=subject, at_once=2)
    await until(lambda: sorted(work.done) == [b"1", b"2", b"3"])
    assert work.begun[:2] == [b"slow", b"1"]
    work.held[b"slow"].set()
    await until(lambda: len(work.done) == 4)
    await working.close()

    async with asyncio.timeout(2):
        while await rig.bus.last(subject) is not None:  # noqa: ASYNC110 - the server takes acks in its own time
            await asyncio.sleep(0.005)


async def test_no_more_jobs_at_once_than_was_said(rig: Rig) -> None:
    """What is beyond waits in the queue, for this process or another one."""
    work = Worker()
    work.held = {b"%d" % number: asyncio.Event() for number in range(5)}
    subject = await order(rig, *work.held)
    await rig.bus.work(JOBS.name, rig.durable, work, subject=subject, at_once=2)
    await until(lambda: len(work.begun) == 2)
    await asyncio.sleep(0.1)
    assert len(work.begun) == 2

    other = Worker()
    await rig.bus.work(JOBS.name, rig.durable, other, subject=subject, at_once=5)
    await until(lambda: len(other.done) == 3)
    assert not set(other.done) & set(work.begun)
    for held in work.held.values():
        held.set()
    await until(lambda: len(work.done) == 2)


async def test_a_job_that_takes_longer_than_its_lease_is_done_once(rig: Rig) -> None:
    """It is held while it runs, so nobody else gets it."""
    work, other = Worker(), Worker()
    work.held = {b"long": asyncio.Event()}
    subject = await order(rig, b"long")
    await rig.bus.work(JOBS.name, rig.durable, work, subject=subject, at_once=1, lease_s=0.3)
    await until(lambda: work.begun == [b"long"])
    await rig.bus.work(JOBS.name, rig.durable, other, subject=subject, at_once=1, lease_s=0.3)
    await asyncio.sleep(1.0)
    work.held[b"long"].set()
    await until(lambda: work.done == [b"long"])
    assert other.begun == []
    assert work.tries[b"long"] == 1


async def test_a_job_that_is_cut_off_is_given_back_at_once(rig: Rig) -> None:
    """A close that may wait no longer leaves its jobs to others, who need not wait for the lease."""
    work, other = Worker(), Worker()
    work.held = {b"long": asyncio.Event()}
    subject = await order(rig, b"long")
    working = await rig.bus.work(JOBS.name, rig.durable, work, subject=subject, at_once=1, lease_s=60)
    await until(lambda: work.begun == [b"long"])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await working.close()

    await rig.bus.work(JOBS.name, rig.durable, other, subject=subject, at_once=1, lease_s=60)
    await until(lambda: other.done == [b"long"])


async def test_a_postponed_job_comes_back_when_it_said(rig: Rig) -> None:
    """It is delivered again after its delay, as often as it likes, and never set aside."""
    tries: list[int] = []

    async def later(job: Delivered) -> None:
        tries.append(job.delivery)
        if job.delivery < 4:
            raise Postponed(0.05)

    subject = await order(rig, b"later")
    await rig.bus.work(JOBS.name, rig.durable, later, subject=subject, at_once=1, park_after=1)
    await until(lambda: tries == [1, 2, 3, 4])


async def test_a_job_that_always_fails_is_set_aside(rig: Rig) -> None:
    """It is tried again while others go through, then it lies in the dead stream."""
    work = Worker()
    work.broken = {b"bad"}
    subject = await order(rig, b"bad", b"1", b"2")
    await rig.bus.work(JOBS.name, rig.durable, work, subject=subject, at_once=1, park_after=2)
    for number in range(3, 12):
        await order(rig, b"%d" % number)
        await until(lambda: len(work.done) >= number)  # noqa: B023 - awaited before the next turn
    dead = await parked(rig)
    assert [one.data for one in dead] == [b"bad"]
    assert b"bad" not in work.done


# Being away.


async def test_without_a_connection_everything_fails_at_once(rig: Rig) -> None:
    """Nothing is buffered to be said minutes later, and nobody waits for a deadline."""
    heard: list[bytes] = []

    async def listen(_: str, data: bytes) -> None:
        heard.append(data)

    await rig.bus.hear(f"test.live.{rig.number}", listen)
    async with rig.away():
        assert not rig.bus.is_connected
        async with asyncio.timeout(0.5):
            with pytest.raises(Away):
                await rig.bus.publish(rig.fact(), b"x", message_id=f"{rig.number}")
            with pytest.raises(Away):
                await rig.bus.tell(f"test.live.{rig.number}", b"stale")
            with pytest.raises(Away):
                await rig.bus.ask(rig.fact(), b"x", timeout_s=30.0)
            with pytest.raises(Away):
                await rig.bus.last(rig.fact())
            with pytest.raises(Away):
                await rig.bus.story(rig.facts)
            with pytest.raises(Away):
                await rig.bus.purge(rig.facts)

    assert await rig.bus.last(rig.fact()) is None
    await rig.bus.tell(f"test.live.{rig.number}", b"fresh")
    await until(lambda: bool(heard))
    assert heard == [b"fresh"]


async def test_an_ask_under_way_ends_with_the_connection(rig: Rig) -> None:
    """Its answer cannot come any more, so nobody waits for the deadline."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def answer(data: bytes) -> bytes:
        begun.set()
        await never.wait()
        return data

    await rig.bus.serve(f"test.ask.{rig.number}", answer)
    asking = asyncio.create_task(rig.bus.ask(f"test.ask.{rig.number}", b"", timeout_s=30.0))
    await begun.wait()
    async with rig.away():
        with pytest.raises(NoAnswer):
            async with asyncio.timeout(1.0):
                await asking
    never.set()


async def test_subscriptions_live_on_after_an_outage(rig: Rig) -> None:
    """Servers, listeners and consumers made before are there after, with nothing lost and nothing doubled."""
    take = Taker()

    async def answer(data: bytes) -> bytes:
        return data

    await rig.bus.serve(f"test.ask.{rig.number}", answer)
    await rig.bus.consume(FACTS.name, rig.durable, take, subject=rig.facts)
    before = await rig.state(20)
    await until(lambda: len(take.done) == 20)
    async with rig.away():
        pass
    after = await rig.state(20, start=20)
    await until(lambda: len(take.done) >= 40, within_s=1.9)

    assert take.done == before + after
    assert await rig.bus.ask(f"test.ask.{rig.number}", b"still here", timeout_s=2.0) == b"still here"


async def test_what_is_asked_for_while_away_begins_later(rig: Rig) -> None:
    """A worker may begin to serve during an outage; the first request after it is answered."""

    async def answer(data: bytes) -> bytes:
        return data

    async with rig.away():
        await rig.bus.serve(f"test.ask.{rig.number}", answer)
    assert await rig.bus.ask(f"test.ask.{rig.number}", b"hello", timeout_s=2.0) == b"hello"


async def test_an_outage_under_a_handler_repeats_at_most(rig: Rig) -> None:
    """When the ack is lost with the connection, the batch comes again; nothing is lost."""
    take = Taker()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(batch: Sequence[Delivered]) -> None:
        begun.set()
        await go_on.wait()
        await take(batch)

    data = await rig.state(5)
    await rig.bus.consume(FACTS.name, rig.durable, handle, subject=rig.facts, redeliver_after_s=0.5)
    await begun.wait()
    async with rig.away():
        go_on.set()
        await until(lambda: len(take.done) == 5)
    await until(lambda: len(take.done) >= 10)

    assert sorted(take.done) == sorted(data * 2)
    assert {message.delivery for message in take.batches[0]} == {1}
    assert all(message.delivery > 1 for batch in take.batches[1:] for message in batch)


async def test_closing_twice_is_safe_and_final(rig: Rig) -> None:
    """After close the bus says that it is away."""
    await rig.bus.consume(FACTS.name, rig.durable, Taker(), subject=rig.facts)
    async with asyncio.timeout(3.0):
        await rig.bus.close()
    await rig.bus.close()

    assert not rig.bus.is_connected
    with pytest.raises(Away):
        await rig.bus.publish(rig.fact(), b"x", message_id=f"{rig.number}")
