"""The bus on a real NATS server that crashes, freezes, forgets or is not there."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import nats
import pytest

from turncall_bus.bus import Away, Delivered, NoAnswer
from turncall_bus.client import ServerTooOld
from turncall_bus.nats import NatsBus, connect
from turncall_bus.spool import Spool
from turncall_proto import subjects
from turncall_proto.codec import decode_event, encode
from turncall_proto.events import DtmfReceived
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.subjects import TC_CALLS, TC_DEAD, TC_OUT
from turncall_testkit.nats_server import NatsServer, free_port

PROJECT = ProjectId("prj_1")
AT = datetime(2026, 11, 22, tzinfo=UTC)


def pressed(call: CallId, seq: int) -> DtmfReceived:
    return DtmfReceived(call_id=call, project_id=PROJECT, epoch=1, seq=seq, at=AT, digit="1")


async def until(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is awaited is a fact of many kinds, and it is a test
            await asyncio.sleep(0.01)


async def flood(bus: NatsBus) -> int:
    """Tells until the bus refuses; returns how often it did not."""
    for told in range(1000):
        try:
            await bus.tell("test.live", b"stale" * 20_000)
        except Away:
            return told
        await asyncio.sleep(0)
    return 1000


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    server = NatsServer()
    try:
        await server.start()
        yield server
    finally:
        await server.remove()


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[NatsBus]:
    bus = await connect(server.url, name="trouble")
    try:
        await bus.prepare([TC_CALLS, TC_DEAD])
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def spooling(folder: Path, bus: NatsBus) -> AsyncIterator[Spool]:
    spool = Spool(folder, bus)
    task = asyncio.create_task(spool.run())
    try:
        yield spool
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        spool.close()


async def test_crashes_of_the_server_lose_and_double_nothing(server: NatsServer, tmp_path: Path) -> None:
    """Facts stated while the server dies twice are stored once each, in order, and every one of them is handled."""
    calls = [CallId(f"call_{number}") for number in range(5)]
    handled: defaultdict[str, set[int]] = defaultdict(set)

    async def project(batch: Sequence[Delivered]) -> None:
        for message in batch:
            event = decode_event(message.data)
            handled[event.call_id].add(event.seq)

    async with connected(server) as bus, spooling(tmp_path, bus) as spool:
        await bus.consume(
            TC_CALLS.name, subjects.PROJECTOR, project, subject=subjects.ALL_CALL_EVENTS, redeliver_after_s=1.0
        )
        for seq in range(1, 101):
            for call in calls:
                spool.append(pressed(call, seq))
            await asyncio.sleep(0.002)
            if seq in (30, 70):
                await server.kill()
            if seq in (50, 90):
                await server.start()
        assert await spool.flush(15.0)
        await until(lambda: all(len(handled[call]) == 100 for call in calls))
        stories = [await bus.story(subjects.call_story(PROJECT, call)) for call in calls]

    for story in stories:
        assert [decode_event(stored.data).seq for stored in story] == list(range(1, 101))


async def test_a_new_process_publishes_what_a_dead_one_left(server: NatsServer, tmp_path: Path) -> None:
    """The worker dies while the server is away; the next one on that folder delivers its facts."""
    call = CallId("call_1")
    async with connected(server) as bus:
        await server.kill()
        async with spooling(tmp_path, bus) as spool:
            for seq in range(1, 11):
                spool.append(pressed(call, seq))
            assert not await spool.flush(0.1)
        await server.start()
        await until(lambda: bus.is_connected)
        async with spooling(tmp_path, bus) as spool:
            assert await spool.flush(10.0)
            story = await bus.story(subjects.call_story(PROJECT, call))
            spool.settle(spool.epochs())

    assert [decode_event(stored.data).seq for stored in story] == list(range(1, 11))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]  # noqa: ASYNC240


async def test_a_frozen_server_counts_as_away(server: NatsServer) -> None:
    """A peer that keeps its sockets and says nothing is noticed, its backlog is bounded, and life goes on after."""
    heard: list[bytes] = []

    async def listen(_: str, data: bytes) -> None:
        heard.append(data)

    async with connected(server) as bus:
        await bus.hear("test.live", listen)
        server.freeze()
        with pytest.raises(NoAnswer):
            await bus.publish(subjects.call(PROJECT, CallId("call_1"), "event"), b"", message_id="1", timeout_s=0.2)
        told = await flood(bus)
        assert told < 500  # of 100 kB: the sockets take some megabytes, the bus eight more
        await until(lambda: not bus._client.is_connected, within_s=10.0)

        server.thaw()
        await until(lambda: bus.is_connected)
        await bus.tell("test.live", b"fresh")
        await until(lambda: b"fresh" in heard)

    assert len(heard) < told


async def test_close_ends_within_its_time_whatever_hangs(server: NatsServer) -> None:
    """A frozen server, a full socket and handlers that never return do not hold a process that wants to end."""
    begun = asyncio.Event()
    cancelled: list[str] = []

    async def hang(_: Sequence[Delivered]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("consumer")
            raise

    bus = await connect(server.url, name="trouble")
    await bus.prepare([TC_CALLS])
    await bus.consume(TC_CALLS.name, "hangs", hang, subject=subjects.ALL_CALL_EVENTS)
    await bus.publish(subjects.call(PROJECT, CallId("call_1"), "event"), b"{}", message_id="1")
    await begun.wait()
    server.freeze()
    assert await flood(bus) < 500
    async with asyncio.timeout(3.5):
        await bus.close()

    assert cancelled == ["consumer"]
    server.thaw()


async def test_a_deleted_consumer_is_made_again(server: NatsServer) -> None:
    """An operator who deletes the durable costs repeats, not facts."""
    call = CallId("call_1")
    handled: set[int] = set()

    async def project(batch: Sequence[Delivered]) -> None:
        handled.update(decode_event(message.data).seq for message in batch)

    operator = await nats.connect(server.url)
    async with connected(server) as bus:
        await bus.consume(TC_CALLS.name, subjects.PROJECTOR, project, subject=subjects.ALL_CALL_EVENTS)
        for seq in (1, 2):
            data = b'{"type":"dtmf.received","call_id":"c","project_id":"p","epoch":1,"seq":%d,' % seq
            data += b'"at":"2026-11-22T00:00:00Z","digit":"1"}'
            await bus.publish(subjects.call(PROJECT, call, "event"), data, message_id=f"{seq}")
            await until(lambda seq=seq: seq in handled)  # type: ignore[misc]
            if seq == 1:
                await operator.jetstream().delete_consumer(TC_CALLS.name, subjects.PROJECTOR)
    await operator.close()

    assert handled == {1, 2}


@pytest.mark.parametrize(("reads_ahead", "taken"), [(False, 2), (True, 4)])
async def test_the_next_batch_comes_while_one_is_handled(server: NatsServer, reads_ahead: bool, taken: int) -> None:
    """Who reads ahead has one more batch from the server while the first is in hand."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(batch: Sequence[Delivered]) -> None:
        begun.set()
        await go_on.wait()

    operator = await nats.connect(server.url)
    async with connected(server) as bus:
        for seq in range(1, 7):
            fact = pressed(CallId("call_1"), seq)
            await bus.publish(subjects.call(PROJECT, fact.call_id, "event"), encode(fact), message_id=f"{seq}")
        consuming = await bus.consume(
            TC_CALLS.name, "ahead", handle, subject=subjects.ALL_CALL_EVENTS, batch=2, reads_ahead=reads_ahead
        )
        await begun.wait()

        async def pending() -> int | None:
            return (await operator.jetstream().consumer_info(TC_CALLS.name, "ahead")).num_ack_pending

        async with asyncio.timeout(15):
            while await pending() != taken:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.01)
        go_on.set()
        await consuming.close()
    await operator.close()


async def test_prepare_leaves_what_the_operator_set(server: NatsServer) -> None:
    """Fields that are not ours survive an update of those that are."""
    operator = await nats.connect(server.url)
    async with connected(server) as bus:
        config = (await operator.jetstream().stream_info(TC_CALLS.name)).config
        await operator.jetstream().update_stream(config.evolve(description="on the fast disks", max_age=3600.0))
        await bus.prepare([TC_CALLS])
        config = (await operator.jetstream().stream_info(TC_CALLS.name)).config
    await operator.close()

    assert config.description == "on the fast disks"
    assert config.max_age == TC_CALLS.max_age_s
    assert config.discard == "new"
    assert config.allow_direct is True


async def test_a_stream_that_is_missing_reads_as_away(server: NatsServer) -> None:
    """Reading from a stream of ours that the server does not have is its trouble, not an empty answer."""
    async with connected(server) as bus:
        with pytest.raises(Away):
            await bus.last(TC_OUT.subjects[0].replace(">", "x"))
        with pytest.raises(Away):
            await bus.story(TC_OUT.subjects[0])


async def test_nobody_there_is_told_without_the_password() -> None:
    """The error names the host and the reason, and keeps the secret."""
    port = free_port()
    with pytest.raises(Away, match=f"127.0.0.1:{port}") as raised:
        await connect(f"nats://control:hunter2@127.0.0.1:{port}", name="trouble", timeout_s=0.3)
    assert "hunter2" not in str(raised.value)


async def test_an_old_server_is_refused() -> None:
    """Servers below 2.11 drop what they do not know in silence, so they are not used at all."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "old", "version": "2.9.10", "max_payload": 1048576, "headers": True, "jetstream": True}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    old = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = old.sockets[0].getsockname()[1]
    with pytest.raises(ServerTooOld, match=r"2\.9; 2\.11 or newer"):
        await connect(f"nats://127.0.0.1:{port}", name="trouble")
    old.close()
    await old.wait_closed()
