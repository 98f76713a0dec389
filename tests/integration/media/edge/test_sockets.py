"""Who gets through the door of a worker, and what becomes of the rest."""

import asyncio
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from websockets.exceptions import ConnectionClosed, InvalidStatus

from turncall_media.counters import Counters
from turncall_media.ingress import sockets
from turncall_media.ingress.sockets import MAX_MESSAGE_BYTES, Door
from turncall_media.seams import SocketClosed
from turncall_proto.events import EpochClosed, EpochOpened


async def test_a_call_from_offer_to_last_fact(a_worker, a_plan, carrier, control):
    """Offer, socket, hang-up: the facts are on the stream, numbered, the claim is ours, the slot is free again."""
    plan = a_plan()
    async with a_worker(slots=1) as worker:
        assert await control.offer(worker.id, plan) == "accepted"
        busy = await control.beat(lambda beat: beat.worker == worker.id)
        assert (busy.slots_used, busy.slots_total) == (1, 1)
        async with carrier.stream(worker.port, plan) as stream:
            await control.facts(plan, 1)
            await carrier.hang_up(stream)
        opened, closed = await control.facts(plan, 2)
        assert isinstance(opened, EpochOpened)
        assert opened.worker == worker.id
        assert isinstance(closed, EpochClosed)
        assert (closed.seq, closed.state, closed.reason) == (2, "completed", "customer_ended_call")
        assert (await control.beat(lambda beat: beat.worker == worker.id)).slots_used == 0
    assert control.hang_ups == []


async def test_a_call_that_another_worker_was_offered(a_worker, a_plan, carrier, control):
    """Any worker serves any valid stream: it reads the plan from the bus."""
    plan = a_plan()
    await control.publish(plan)
    async with a_worker() as worker, carrier.stream(worker.port, plan) as stream:
        await control.facts(plan, 1)
        await carrier.hang_up(stream)
        await control.facts(plan, 2)


@pytest.mark.parametrize("age_s", [61, 3600])
async def test_an_expired_token(a_worker, a_plan, carrier, age_s):
    """403 before the upgrade."""
    async with a_worker() as worker:
        with pytest.raises(InvalidStatus) as refused:
            async with carrier.socket(worker.port, carrier.path(a_plan(), age_s=age_s)):
                pass
        assert refused.value.response.status_code == 403


async def test_tokens_of_others(a_worker, a_plan, carrier):
    """Garbage, another call's and another epoch's token: 403; a path of nobody's: 404."""
    plan = a_plan()
    token = carrier.path(plan).rpartition("/")[2]
    async with a_worker() as worker:
        for path, status in (
            (f"/media/{plan.call_id}/1/garbage", 403),
            (f"/media/{plan.call_id}/2/{token}", 403),
            (f"/media/{a_plan().call_id}/1/{token}", 403),
            (f"/media/{plan.call_id}/1/{token[:-1]}", 403),
            ("/media/nobody/1/token", 404),
            ("/elsewhere", 404),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with carrier.socket(worker.port, path):
                    pass
            assert refused.value.response.status_code == status, path


async def test_a_token_that_is_in_order_and_no_plan(a_worker, a_plan, carrier):
    """Accepted, and closed with 1011 once nobody knows the call."""
    async with a_worker() as worker, carrier.stream(worker.port, a_plan()) as stream:
        assert await carrier.closed_with(stream) == 1011


async def test_audio_before_the_start_message(a_worker, a_plan, carrier, control):
    """Closed with 1002 at once; no fact of the call exists."""
    plan = a_plan()
    async with a_worker() as worker:
        await control.offer(worker.id, plan)
        async with carrier.socket(worker.port, carrier.path(plan)) as stream:
            await stream.send('{"event":"media","streamSid":"MZ1","media":{"timestamp":"1","payload":"/w=="}}')
            assert await carrier.closed_with(stream) == 1002
        assert await control.facts(plan, 0) == []


@pytest.mark.parametrize(
    ("message", "code"),
    [pytest.param(b"\x00\x01", 1003, id="binary"), pytest.param("x" * (MAX_MESSAGE_BYTES + 1), 1009, id="oversized")],
)
async def test_frames_that_no_carrier_sends(a_worker, a_plan, carrier, control, message, code):
    """A binary frame closes with 1003, one over the size limit with 1009."""
    plan = a_plan()
    async with a_worker() as worker:
        await control.offer(worker.id, plan)
        async with carrier.stream(worker.port, plan) as stream:
            await stream.send(message)
            assert await carrier.closed_with(stream) == code


async def test_a_second_stream_of_a_live_epoch(a_worker, a_plan, carrier, control):
    """Closed with 1008; the first one does not notice."""
    plan = a_plan()
    async with a_worker() as worker:
        await control.offer(worker.id, plan)
        async with carrier.stream(worker.port, plan) as first:
            await control.facts(plan, 1)
            async with carrier.stream(worker.port, plan) as second:
                assert await carrier.closed_with(second) == 1008
            await carrier.hang_up(first)
        assert [fact.seq for fact in await control.facts(plan, 2)] == [1, 2]


async def test_one_epoch_on_two_workers(a_worker, a_plan, carrier, control, tmp_path):
    """Both get the stream, one keeps it, and one history is written."""
    plan = a_plan()
    await control.publish(plan)
    async with a_worker() as one, a_worker(spool_dir=tmp_path / "other") as two:
        async with carrier.stream(one.port, plan) as first, carrier.stream(two.port, plan) as second:
            closing = [asyncio.create_task(stream.wait_closed()) for stream in (first, second)]
            await asyncio.wait(closing, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            assert sorted(stream.close_code or 0 for stream in (first, second)) == [0, 1008]
            await carrier.hang_up(first if first.close_code is None else second)
            await asyncio.wait(closing, timeout=5)
        facts = await control.facts(plan, 2)
        assert [type(fact) for fact in facts] == [EpochOpened, EpochClosed]


async def test_a_full_worker(a_worker, a_plan, carrier, control):
    """The socket of a call too many is accepted and closed with 1012; an offer gets ``full``; the live call goes on."""
    plan, another = a_plan(), a_plan()
    async with a_worker(slots=1) as worker:
        await control.offer(worker.id, plan)
        async with carrier.stream(worker.port, plan) as first:
            await control.facts(plan, 1)
            assert await control.offer(worker.id, another) == "full"
            async with carrier.socket(worker.port, carrier.path(another)) as second:
                assert await carrier.closed_with(second) == 1012
            await carrier.hang_up(first)
        await control.facts(plan, 2)


async def test_the_pages(a_worker):
    """Alive, not ready before the process says so, and measured."""

    def read(path: str) -> str:
        with urlopen(f"http://127.0.0.1:{worker.port}{path}", timeout=2) as answer:
            return answer.read().decode()

    async with a_worker(slots=7) as worker:
        assert await asyncio.to_thread(read, "/health") == "alive\n"
        measured = await asyncio.to_thread(read, "/metrics")
    assert "turncall_media_slots_total 7.0" in measured
    assert "turncall_media_loop_lag_seconds" in measured


async def nobody(socket, call_id, epoch) -> None:
    raise AssertionError("nobody may get this far")


async def test_strangers_are_few():
    """Beyond the limit, a connection that has shown no token is cut off; those before it are not."""
    registry = CollectorRegistry()
    door = Door((), nobody, {}, Counters(registry), max_strangers=2)
    async with await door.open("127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        try:
            async with asyncio.timeout(2):
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await lines[2][0].readexactly(1)
            lines[0][1].write(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await lines[0][0].readline() == b"HTTP/1.1 404 Not Found\r\n"
        finally:
            for _, writer in lines:
                writer.close()
    assert registry.get_sample_value("turncall_media_sockets_total", {"outcome": "crowded"}) == 1


async def read_all(stream) -> None:
    while True:
        await stream.recv()


async def test_a_carrier_that_stops_reading(a_plan, carrier, monkeypatch):
    """A write gives up after its deadline: the connection is dropped and the call hears that its socket is closed."""
    monkeypatch.setattr(sockets, "WRITE_WITHIN_S", 0.2)
    failed: asyncio.Future[SocketClosed] = asyncio.get_running_loop().create_future()

    async def flood(socket, call_id, epoch) -> None:
        try:
            while True:
                await socket.send("x" * 60_000)
        except SocketClosed as error:
            failed.set_result(error)

    door = Door(carrier.keys, flood, {}, Counters(CollectorRegistry()), max_strangers=2)
    async with await door.open("127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with carrier.socket(port, carrier.path(a_plan())) as stream:
            async with asyncio.timeout(5):
                assert (await failed).code == 1006
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionClosed):
                    await read_all(stream)


@pytest.mark.parametrize("limit", [{"max_lag_ms": 0.0001}, {"max_cpu_share": 0.0001}])
async def test_an_overloaded_worker_says_so_and_takes_nobody(a_worker, a_plan, control, limit):
    """Over its limit of lag or of CPU a worker with free slots refuses, and its beats say why nobody should ask."""
    async with a_worker(**limit) as worker:
        beat = await control.beat(lambda beat: beat.worker == worker.id and beat.is_overloaded)
        assert beat.slots_used == 0
        assert await control.offer(worker.id, a_plan()) == "full"
    async with a_worker() as worker:
        assert not (await control.beat(lambda beat: beat.worker == worker.id and beat.cpu_share > 0)).is_overloaded
        assert await control.offer(worker.id, a_plan()) == "accepted"
