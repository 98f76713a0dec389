"""The spool: what was appended is published in order, once in effect, whatever happens to the process and the bus."""

import asyncio
import os
import resource
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turncall_bus.bus import Ack, NoAnswer
from turncall_bus.memory import MemoryBus
from turncall_bus.spool import DiskFull, Spool
from turncall_proto import subjects
from turncall_proto.call import CallState
from turncall_proto.codec import TooLarge, decode_event
from turncall_proto.command import SpooledEpoch
from turncall_proto.events import EpochClosed, TranscriptFinal
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.subjects import TC_CALLS

AT = datetime(2026, 11, 22, tzinfo=UTC)
PROJECT = ProjectId("prj_1")
CALL = CallId("call_1")


def said(seq: int, text: str = "hello", *, epoch: int = 1, call: CallId = CALL) -> TranscriptFinal:
    return TranscriptFinal(
        call_id=call, project_id=PROJECT, epoch=epoch, seq=seq, at=AT, speaker="caller", text=text, start_ms=0,
        end_ms=1, turn=1,
    )  # fmt: skip


class Line(MemoryBus):
    """A bus whose publishes take a turn of the loop and fail as told: before the message is stored, or after."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)
        self.troubles: list[str] = []
        self.in_flight = self.most_in_flight = 0

    async def publish(
        self, subject: str, data: bytes, *, message_id: str, expect_last: int | None = None, timeout_s: float = 2.0
    ) -> Ack:
        trouble = self.troubles.pop() if self.troubles else "none"
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if trouble == "lost":
                raise NoAnswer("lost on the way there")
            await asyncio.sleep(0)
            ack = await super().publish(subject, data, message_id=message_id, expect_last=expect_last)
            await asyncio.sleep(0)
            if trouble == "unheard":
                raise NoAnswer("lost on the way back")
            return ack
        finally:
            self.in_flight -= 1

    async def seqs(self, call: CallId = CALL) -> list[tuple[int, int]]:
        """What the stream holds of a call, as (epoch, seq), in stream order."""
        stored = [decode_event(one.data) for one in await self.story(subjects.call_story(PROJECT, call))]
        return [(event.epoch, event.seq) for event in stored]


def files(folder: Path, pattern: str = "*.spool") -> list[Path]:
    return sorted(folder.glob(pattern))


async def no_pause(_: float) -> None:
    """A back-off that costs a turn of the loop."""
    await asyncio.sleep(0)


@pytest.fixture
async def line() -> Line:
    line = Line()
    await line.prepare([TC_CALLS])
    return line


@asynccontextmanager
async def running(folder: Path, bus: MemoryBus) -> AsyncIterator[Spool]:
    """A spool at work; leaving ends it as the death of its process would, but for the memory."""
    spool = Spool(folder, bus, sleep=no_pause)
    task = asyncio.create_task(spool.run())
    try:
        yield spool
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        spool.close()


async def test_facts_are_published_in_order_under_their_ids(tmp_path: Path, line: Line) -> None:
    """Each fact reaches its call's subject once, in the order of its numbers."""
    async with running(tmp_path, line) as spool:
        for seq in range(1, 6):
            spool.append(said(seq))
        assert await spool.flush(5.0)

    assert await line.seqs() == [(1, seq) for seq in range(1, 6)]
    ack = await line.publish(subjects.call(PROJECT, CALL, "event"), b"", message_id=subjects.message_id(CALL, 1, 3))
    assert ack.is_duplicate


async def test_append_needs_no_bus(tmp_path: Path, line: Line) -> None:
    """While the bus is away facts go to the disk, and flush says that they are still there."""
    line.go_away()
    async with running(tmp_path, line) as spool:
        for seq in range(1, 101):
            spool.append(said(seq))
        assert not await spool.flush(0.0)
        assert spool.unpublished_bytes == sum(path.stat().st_size for path in files(tmp_path))
        line.come_back()
        assert await spool.flush(5.0)
        assert spool.unpublished_bytes == 0

    assert await line.seqs() == [(1, seq) for seq in range(1, 101)]


async def test_a_dead_worker_s_facts_are_adopted(tmp_path: Path, line: Line) -> None:
    """A new process publishes what an earlier one left in the folder, and knows how far each epoch went."""
    line.go_away()
    async with running(tmp_path, line) as spool:
        for seq in range(1, 4):
            spool.append(said(seq))
        spool.append(said(1, epoch=2))
    line.come_back()

    async with running(tmp_path, line) as spool:
        assert {(one.epoch, one.last_seq) for one in spool.epochs()} == {(1, 3), (2, 1)}
        assert await spool.flush(5.0)

    assert sorted(await line.seqs()) == [(1, 1), (1, 2), (1, 3), (2, 1)]


@pytest.mark.parametrize("torn", [1, 7, 8, 60])
async def test_a_torn_tail_is_cut(tmp_path: Path, line: Line, torn: int) -> None:
    """A write that the crash cut in half is taken back; what was whole before it stays and more can follow."""
    async with running(tmp_path, line) as spool:
        spool.append(said(1))
        spool.append(said(2))
    (file,) = files(tmp_path)
    half = file.stat().st_size // 2
    os.truncate(file, half + torn)

    async with running(tmp_path, line) as spool:
        assert file.stat().st_size == half
        assert [one.last_seq for one in spool.epochs()] == [1]
        spool.append(said(2, "once more"))
        assert await spool.flush(5.0)

    assert await line.seqs() == [(1, 1), (1, 2)]


async def test_a_file_of_nothing_but_a_torn_record_goes(tmp_path: Path, line: Line) -> None:
    """When not even the first fact was written whole, nothing is left to adopt."""
    (tmp_path / "call_1.1.spool").write_bytes(b"\x40\0\0\0half")
    async with running(tmp_path, line) as spool:
        assert spool.epochs() == []
    assert files(tmp_path) == []


async def test_a_damaged_record_ends_its_file_only(tmp_path: Path, line: Line) -> None:
    """A flipped bit loses the rest of one file; control sees the hole, and other calls go on."""
    line.go_away()
    other = CallId("call_2")
    async with running(tmp_path, line) as spool:
        for seq in range(1, 4):
            spool.append(said(seq))
        spool.append(said(1, call=other))
        file = tmp_path / "call_1.1.spool"
        damaged = bytearray(file.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        file.write_bytes(damaged)
        line.come_back()
        assert await spool.flush(5.0)

    assert await line.seqs() == [(1, 1)]
    assert await line.seqs(other) == [(1, 1)]


async def test_settled_files_are_deleted_and_grown_ones_kept(tmp_path: Path, line: Line) -> None:
    """Only what control has seen to its last number may go."""
    async with running(tmp_path, line) as spool:
        spool.append(said(1))
        spool.append(said(1, epoch=2))
        seen = spool.epochs()
        spool.append(said(2, epoch=2))
        spool.settle([*seen, SpooledEpoch(call_id=CallId("call_9"), epoch=1, last_seq=1)])
        assert [(one.epoch, one.last_seq) for one in spool.epochs()] == [(2, 2)]

    assert [path.name for path in files(tmp_path)] == ["call_1.2.spool"]


async def test_settling_ends_a_publish_that_cannot_succeed(tmp_path: Path, line: Line) -> None:
    """A file that is settled while its facts wait (an adopted copy) is deleted and no longer tried."""
    line.go_away()
    async with running(tmp_path, line) as spool:
        spool.append(said(1))
        await asyncio.sleep(0)
        spool.settle(spool.epochs())
        assert await spool.flush(5.0)
        line.come_back()
        await asyncio.sleep(0)
    assert await line.seqs() == []


async def test_missing_facts_are_published_again(tmp_path: Path, line: Line) -> None:
    """What control misses is stored anew, past the stream's memory of message ids."""
    async with running(tmp_path, line) as spool:
        for seq in range(1, 6):
            spool.append(said(seq))
        assert await spool.flush(5.0)
        spool.again(CALL, 1, [2, 4, 99])
        spool.again(CallId("call_9"), 1, [1])
        assert await spool.flush(5.0)
        spool.again(CALL, 1, [4])
        assert await spool.flush(5.0)

    assert [seq for _, seq in await line.seqs()] == [1, 2, 3, 4, 5, 2, 4, 4]


async def test_no_more_than_two_hundred_are_in_flight(tmp_path: Path, line: Line) -> None:
    """Many epochs publish side by side, one fact each; the bound holds and nobody starves."""
    calls = [CallId(f"call_{number}") for number in range(300)]
    async with running(tmp_path, line) as spool:
        for seq in (1, 2, 3):
            for call in calls:
                spool.append(said(seq, call=call))
        assert await spool.flush(5.0)

    assert line.most_in_flight == 200
    for call in calls:
        assert await line.seqs(call) == [(1, 1), (1, 2), (1, 3)]


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_told_and_leaves_no_half_fact(tmp_path: Path, line: Line) -> None:
    """The fact that found no room is not in the file, its number is free, and the next one may find room."""
    spool = Spool(tmp_path, line)
    spool.append(said(1))
    (file,) = files(tmp_path)
    size = file.stat().st_size
    with files_no_larger_than(size + 20):
        with pytest.raises(DiskFull):
            spool.append(said(2))
        with pytest.raises(DiskFull):
            spool.append(said(1, "a long text " * 100, epoch=2))
    assert [(one.epoch, one.last_seq) for one in spool.epochs()] == [(1, 1)]
    assert file.stat().st_size == size
    assert files(tmp_path, "*.2.spool") == []

    spool.append(said(2))
    assert [(one.epoch, one.last_seq) for one in spool.epochs()] == [(1, 2)]
    spool.close()


async def test_a_fact_over_the_limit_of_the_bus_is_refused(tmp_path: Path, line: Line) -> None:
    """It could never be published, so it is not written."""
    spool = Spool(tmp_path, line)
    with pytest.raises(TooLarge):
        spool.append(said(1, "x" * 300_000))
    assert spool.epochs() == []
    spool.close()


async def test_a_number_out_of_turn_is_refused(tmp_path: Path, line: Line) -> None:
    """A gap or a repeat is a mistake of the caller's and never reaches the disk."""
    spool = Spool(tmp_path, line)
    spool.append(said(1))
    for seq in (1, 3):
        with pytest.raises(ValueError, match="follows 1"):
            spool.append(said(seq))
    assert [one.last_seq for one in spool.epochs()] == [1]
    spool.close()


async def test_a_closed_epoch_holds_no_descriptor(tmp_path: Path, line: Line) -> None:
    """Calls that wait out a long outage cost disk, not open files."""
    spool = Spool(tmp_path, line)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        call = CallId(f"call_{number}")
        spool.append(said(1, call=call))
        spool.append(EpochClosed(call_id=call, project_id=PROJECT, epoch=1, seq=2, at=AT, state=CallState.COMPLETED))
    assert len(os.listdir("/proc/self/fd")) == before
    spool.close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("turns"), st.integers(0, 12)),
        st.tuples(st.just("crash"), st.integers(0, 90)),
        st.tuples(st.just("trouble"), st.integers(1, 5)),
        st.tuples(st.just("away"), st.just(0)),
        st.tuples(st.just("back"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=steps)
async def test_every_fact_is_published_once_in_effect_and_in_order(steps: list[tuple[str, int]]) -> None:
    """Through crashes in any place, torn tails, lost requests, lost answers and outages."""
    line = Line()
    await line.prepare([TC_CALLS])
    stated: defaultdict[int, int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        at = 0
        while at < len(steps):
            async with running(folder, line) as spool:
                torn = await live(spool, line, steps[at:], stated)
                at += torn.steps
            if torn.bytes:
                tear(folder, torn.bytes, stated)
        line.come_back()
        line.troubles.clear()
        async with running(folder, line) as spool:
            assert await spool.flush(10.0)
            assert {one.epoch: one.last_seq for one in spool.epochs()} == dict(stated)

    published: defaultdict[int, list[int]] = defaultdict(list)
    for epoch, seq in await line.seqs():
        published[epoch].append(seq)
    assert published == {epoch: list(range(1, last + 1)) for epoch, last in stated.items()}


class Torn:
    """How many steps one life of the process took, and how much of a half-written record it left."""

    def __init__(self, steps: int, size_bytes: int) -> None:
        self.steps = steps
        self.bytes = size_bytes


async def live(spool: Spool, line: Line, steps: list[tuple[str, int]], stated: dict[int, int]) -> Torn:
    for taken, (step, amount) in enumerate(steps, start=1):
        match step:
            case "append":
                spool.append(said(stated[amount] + 1, epoch=amount))
                stated[amount] += 1
            case "turns":
                for _ in range(amount):
                    await asyncio.sleep(0)
            case "trouble":
                line.troubles += ["lost", "unheard"] * amount
            case "away":
                line.go_away()
            case "back":
                line.come_back()
            case "crash":
                return Torn(taken, amount)
    return Torn(len(steps), 0)


def tear(folder: Path, size_bytes: int, stated: dict[int, int]) -> None:
    """The process died while it wrote the next record of an epoch: ``append`` never returned for it."""
    for epoch in stated:
        file = folder / f"{CALL}.{epoch}.spool"
        whole = file.read_bytes()
        file.write_bytes(whole + whole[: min(size_bytes, len(whole) - 1, first_record_bytes(whole) - 1)])


def first_record_bytes(data: bytes) -> int:
    return 8 + int.from_bytes(data[:4], "little")
