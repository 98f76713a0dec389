"""Messages that no consumer could take: told of, listed, put back where they came from, dropped."""

import argparse

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from turncall import parked as command
from turncall.client import TurnCall
from turncall_bus.bus import Parked
from turncall_control.parked.watch import Streams
from turncall_proto import ids, subjects
from turncall_proto.subjects import STREAMS, TC_JOBS, TC_OUT

SUBJECT = "tc.v1.job.picky"
DURABLE = "picky"


class Picky:
    """Takes every message but the poisonous ones, until it is mended."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self.is_mended = False

    async def __call__(self, batch) -> None:
        if not self.is_mended and any(b"speech" in message.data for message in batch):
            raise ValueError("a bug")
        self.done += [message.data for message in batch]


@pytest.fixture
async def bus(control, comes_true):
    """The control plane's own connection, once it is there; nothing is parked."""
    await comes_true(lambda: control.plane.bus.is_connected)
    await control.plane.bus.purge("tc.v1.dead.>")
    return control.plane.bus


@pytest.fixture
async def picky(bus):
    """A consumer of a work queue."""
    picky = Picky()
    consuming = await bus.consume(TC_JOBS.name, DURABLE, picky, subject=SUBJECT, batch=1, park_after=1)
    yield picky
    await consuming.close()


@pytest.fixture
async def said(control, bus):
    """What the operator's command says, given its words."""
    parser = argparse.ArgumentParser()
    command.declare(parser)
    async with TurnCall("http://control") as api:
        await api._http.aclose()
        headers = control.operator.headers
        api._http = AsyncClient(transport=ASGITransport(control.app), base_url="http://control", headers=headers)

        async def said(*words: str) -> list[str]:
            lines: list[str] = []
            await command.carry_out(api, parser.parse_args(words), lines.append)
            return lines

        yield said


async def publish(bus, *bodies: bytes) -> None:
    """Puts jobs into the queue."""
    for body in bodies:
        await bus.publish(SUBJECT, body, message_id=f"{body!r} {ids.mint(ids.CALL)}")


async def test_what_was_parked_is_told_and_replayed_once_its_consumer_is_mended(control, bus, picky, said, comes_true):
    """The operator reads in the log that something is parked, sees what and why but not what it says, and has it done
    after all; what fails again is parked anew."""
    assert await said("list") == ["no message is parked"]
    await publish(bus, b"some speech", b"1", b"2")

    async def parked() -> bool:
        await publish(bus, b"more")  # a failure counts against a message only while others go through
        return bool((await control.operator.done("GET", "/v1/parked-messages"))["items"])

    await comes_true(parked)
    streams = Streams(bus, CollectorRegistry())
    with capture_logs() as log:
        await streams.look()
        await streams.look()
    assert [line["parked"] for line in log if line["event"] == "messages.parked"] == [1], "it is said once"
    headings, line = await said("list")
    assert headings.split() == list(command.HEADINGS)
    for told in (TC_JOBS.name, DURABLE, SUBJECT, "ValueError: a bug", "11"):
        assert told in line
    (item,) = (await control.operator.done("GET", "/v1/parked-messages"))["items"]
    assert "speech" not in str(item)

    await said("replay", "--all")

    async def parked_anew() -> bool:
        await publish(bus, b"more")
        return [one["id"] for one in (await control.operator.done("GET", "/v1/parked-messages"))["items"]] not in (
            [],
            [item["id"]],
        )

    await comes_true(parked_anew)
    picky.is_mended = True
    (again,) = (await control.operator.done("GET", "/v1/parked-messages"))["items"]
    assert await said("replay", str(again["id"])) == [f"{again['id']} is in its stream again"]
    await comes_true(lambda: b"some speech" in picky.done)
    assert picky.done.count(b"some speech") == 1
    assert await said("list") == ["no message is parked"]
    assert await said("replay", str(again["id"])) == [f"{again['id']} was not parked"]


async def test_a_parked_message_is_dropped_for_good(control, bus, picky, said, comes_true):
    """What nobody can use is forgotten; pages are read to the last one."""
    await publish(bus, b"speech 1", b"1", b"speech 2", b"2")

    async def items(**query) -> list[dict]:
        return (await control.operator.done("GET", "/v1/parked-messages", params=query))["items"]

    async def both() -> bool:
        await publish(bus, b"more")
        return len(await items()) == 2

    await comes_true(both)
    (first,) = await items(limit=1)
    (second,) = await items(limit=1, after=first["id"])
    assert first["id"] < second["id"]
    assert await said("drop", str(first["id"])) == [f"{first['id']} is dropped"]
    assert [one["id"] for one in await items()] == [second["id"]]
    await said("drop", "--all")
    assert await items() == []
    assert await said("drop", str(second["id"])) == [f"{second['id']} was not parked"]


async def test_a_stream_that_fills_is_told_of(bus, picky):
    """From 70 % of its cap on the log names a stream, once; how full each one is, is a metric."""
    await publish(bus, b"speech")
    registry = CollectorRegistry()
    tight = replace(TC_JOBS, max_bytes=10)
    streams = Streams(bus, registry, [tight, TC_OUT])
    with capture_logs() as log:
        await streams.look()
        await streams.look()
    assert [line["stream"] for line in log if line["event"] == "stream.filling"] == [TC_JOBS.name]
    assert registry.get_sample_value("turncall_stream_filled_share", {"stream": TC_JOBS.name}) > 1


async def test_the_operators_metrics_show_what_is_parked(control, bus, comes_true):
    """The page that Prometheus reads has both figures of every stream."""

    async def shown() -> bool:
        page = (await control.client.get("/metrics")).text
        figures = ("turncall_stream_messages", "turncall_stream_filled_share")
        return all(f'{figure}{{stream="{spec.name}"}} ' in page for figure in figures for spec in STREAMS)

    await comes_true(shown)


async def test_parked_messages_are_the_operators(control, tenant):
    """A project's key, an admin's too, sees and moves none."""
    await tenant.refused(401, "GET", "/v1/parked-messages")
    for act in ("replay", "drop"):
        await tenant.refused(401, "POST", f"/v1/parked-messages/{act}", {"ids": [1]})


async def test_what_cannot_go_back_stays_parked(control, bus):
    """A message whose stream does not take it is left where it is."""
    stray = Parked(
        stream="GONE", durable=DURABLE, subject="tc.v1.nowhere", stream_seq=1, error="ValueError: a bug", data=b"x"
    )
    await bus.publish(subjects.dead(TC_JOBS.name), msgspec.json.encode(stray), message_id=ids.mint(ids.CALL))
    (item,) = (await control.operator.done("GET", "/v1/parked-messages"))["items"]
    await control.operator.refused(503, "POST", "/v1/parked-messages/replay", {"ids": [item["id"]]})
    assert (await control.operator.done("GET", "/v1/parked-messages"))["items"] == [item]
