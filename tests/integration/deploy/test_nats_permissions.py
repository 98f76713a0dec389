"""What each plane may do on the production bus, asked of a real server with the very file that production gets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from turncall_bus.bus import Away, Bus, Delivered, NoAnswer, NotLast
from turncall_bus.nats import connect
from turncall_proto import ids, subjects
from turncall_proto.ids import CallId, ProjectId, WorkerId
from turncall_proto.subjects import CONTROL_QUEUE, PROJECTOR, STREAMS, TC_CALLS, TC_DEAD
from turncall_testkit import compose
from turncall_testkit.nats_server import NatsServer

PROJECT = ProjectId(ids.mint(ids.PROJECT))
WORKER = WorkerId(ids.mint(ids.WORKER))
WITHIN_S = 5.0
REFUSED_WITHIN_S = 0.3


class Planes(Struct, frozen=True, kw_only=True):
    """Both planes, each let in by its own login."""

    server: NatsServer
    control: Bus
    media: Bus


class Inbox:
    """Takes messages and lets a test wait for them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def heard(self, subject: str, data: bytes) -> None:
        await self._queue.put((subject, data))

    async def consumed(self, batch: Sequence[Delivered]) -> None:
        for message in batch:
            await self._queue.put((message.subject, message.data))

    async def next(self) -> tuple[str, bytes]:
        async with asyncio.timeout(WITHIN_S):
            return await self._queue.get()

    @property
    def is_empty(self) -> bool:
        return self._queue.empty()


@pytest.fixture(scope="module")
async def planes(root: Path, answers: Mapping[str, str]) -> AsyncIterator[Planes]:
    """A server as compose runs it, and two connections."""
    service = compose.services(root / "compose.yaml", answers)["nats"]
    server = NatsServer(root / "deploy" / "nats" / "nats.conf", service.environment)
    await server.start()
    try:
        buses = [
            await connect(
                server.url.replace("//", f"//{user}:{answers[f'NATS_{user.upper()}_PASSWORD']}@"),
                name=f"{user} of a test",
            )
            for user in ("control", "media")
        ]
        await buses[0].prepare(STREAMS)
        yield Planes(server=server, control=buses[0], media=buses[1])
        for bus in buses:
            await bus.close()
    finally:
        await server.remove()


@pytest.fixture
def call_id() -> CallId:
    """A call that no other test touches."""
    return CallId(ids.mint(ids.CALL))


async def echo(data: bytes) -> bytes:
    """Answers what it was asked."""
    return data


async def test_nobody_else_is_let_in(planes: Planes) -> None:
    """Without a login, and with a wrong password, there is no connection."""
    for url in (planes.server.url, planes.server.url.replace("//", "//media:42@")):
        with pytest.raises(Away):
            await connect(url, name="a stranger", timeout_s=0.5)


async def test_control_prepares_streams_again(planes: Planes) -> None:
    """Another replica, or a newer release, finds the streams and may bring them up to date."""
    await planes.control.prepare(STREAMS)


async def test_beats_reach_control(planes: Planes) -> None:
    """A worker says that it lives."""
    inbox = Inbox()
    hearing = await planes.control.hear(subjects.ALL_BEATS, inbox.heard)
    await planes.media.tell(subjects.beat("calls", WORKER), b"beat")
    assert await inbox.next() == (subjects.beat("calls", WORKER), b"beat")
    await hearing.close()


async def test_offers_and_commands_are_answered_by_media(planes: Planes, call_id: CallId) -> None:
    """Control asks, the worker answers."""
    for subject in (subjects.offer(WORKER), subjects.command(call_id), subjects.worker(WORKER)):
        serving = await planes.media.serve(subject, echo)
        assert await planes.control.ask(subject, b"asked", timeout_s=WITHIN_S) == b"asked"
        await serving.close()


async def test_acts_are_answered_by_control(planes: Planes) -> None:
    """The worker asks for a hang-up and for what is settled."""
    for subject in (subjects.act("hang_up"), subjects.act("settlement")):
        serving = await planes.control.serve(subject, echo, queue=CONTROL_QUEUE)
        assert await planes.media.ask(subject, b"asked", timeout_s=WITHIN_S) == b"asked"
        await serving.close()


async def test_live_news_of_both_planes_reach_control(planes: Planes, call_id: CallId) -> None:
    """Partial transcripts come from the worker, stored facts from another replica."""
    inbox, subject = Inbox(), subjects.live(PROJECT, call_id)
    hearing = await planes.control.hear(subject, inbox.heard)
    for bus in (planes.media, planes.control):
        await bus.tell(subject, b"news")
        assert await inbox.next() == (subject, b"news")
    await hearing.close()


async def test_a_call_is_planned_claimed_told_read_consumed_and_purged(planes: Planes, call_id: CallId) -> None:
    """Every step that a call takes over the streams, by the plane that takes it."""
    control, media = planes.control, planes.media
    start, claim, event = (subjects.call(PROJECT, call_id, leaf) for leaf in ("start", "claim", "event"))
    await control.publish(start, b"plan", message_id=f"{call_id}.1")
    assert [stored.data for stored in await media.story(start.replace(PROJECT, "*"))] == [b"plan"]
    assert await media.last(start) == b"plan"
    await media.publish(claim, b"mine", message_id=f"{call_id}.claim.1", expect_last=0)
    with pytest.raises(NotLast):
        await media.publish(claim, b"also mine", message_id=f"{call_id}.claim.2", expect_last=0)
    inbox = Inbox()
    consuming = await control.consume(TC_CALLS.name, PROJECTOR, inbox.consumed, subject=subjects.ALL_CALL_EVENTS)
    await media.publish(event, b"fact", message_id=subjects.message_id(call_id, 1, 1))
    assert await inbox.next() == (event, b"fact")
    await consuming.close()
    assert await control.last(event) == b"fact"
    story = [stored.data for stored in await control.story(subjects.call_story(PROJECT, call_id))]
    assert story == [b"plan", b"mine", b"fact"]
    await control.purge(subjects.call_story(PROJECT, call_id))
    assert await control.story(subjects.call_story(PROJECT, call_id)) == []


async def test_a_poison_message_is_parked(planes: Planes) -> None:
    """Control's consumer writes to the stream of the dead, and control empties it: that one message by message."""
    parked = await planes.control.publish(subjects.dead(TC_CALLS.name), b"parked", message_id="parked")
    assert await planes.control.last(subjects.dead(TC_CALLS.name)) == b"parked"
    assert (await planes.control.fill(TC_DEAD.name)).messages == 1
    await planes.control.remove(TC_DEAD.name, parked.stream_seq)
    assert (await planes.control.fill(TC_DEAD.name)).messages == 0


async def test_media_cannot_say_what_is_controls_to_say(
    planes: Planes, call_id: CallId, caplog: pytest.LogCaptureFixture
) -> None:
    """No plan, command, offer or job comes from a worker, and no stream or consumer is its to make, read or empty."""
    start = subjects.call(PROJECT, call_id, "start")
    await planes.control.publish(start, b"plan", message_id=f"{call_id}.1")
    stream = TC_CALLS.name
    foreign = [
        start,
        subjects.command(call_id),
        subjects.offer(WORKER),
        subjects.dead(stream),
        "tc.v1.job.analysis",
        "tc.v1.out.agent",
        "_INBOX.control.forged",
        f"$JS.API.STREAM.PURGE.{stream}",
        f"$JS.API.STREAM.CREATE.{stream}",
        f"$JS.API.STREAM.UPDATE.{stream}",
        f"$JS.API.STREAM.DELETE.{stream}",
        f"$JS.API.STREAM.MSG.DELETE.{stream}",
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.mine",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{PROJECTOR}",
        f"$JS.API.CONSUMER.DELETE.{stream}.{PROJECTOR}",
        f"$JS.ACK.{stream}.{PROJECTOR}.1.1.1.1.0",
        "$JS.API.DIRECT.GET.TC_JOBS",
        "$JS.API.INFO",
    ]
    with caplog.at_level(logging.WARNING, logger="turncall_bus.client"):
        refusals = await asyncio.gather(
            *(planes.media.ask(subject, b"", timeout_s=REFUSED_WITHIN_S) for subject in foreign), return_exceptions=True
        )
    assert [type(refusal) for refusal in refusals] == [NoAnswer] * len(foreign)
    told = caplog.text.lower()
    for subject in foreign:
        assert f'permissions violation for publish to "{subject}"'.lower() in told
    assert await planes.control.last(start) == b"plan"


async def test_media_hears_nothing_but_offers_and_commands(planes: Planes, call_id: CallId) -> None:
    """Another worker's facts, beats and news, and what control is answered, do not reach a worker."""
    inbox = Inbox()
    listened = (">", "tc.v1.>", subjects.ALL_CALL_EVENTS, subjects.ALL_BEATS, "tc.v1.live.>", "tc.v1.act.*", "_INBOX.>")
    hearing = [await planes.media.hear(subject, inbox.heard) for subject in (*listened, "_INBOX.control.>", "$JS.>")]
    marked = Inbox()
    hearing.append(await planes.media.hear(subjects.command(call_id), marked.heard))
    event = subjects.call(PROJECT, call_id, "event")
    await planes.media.publish(event, b"fact", message_id=subjects.message_id(call_id, 1, 1))
    await planes.media.tell(subjects.beat("calls", WORKER), b"beat")
    await planes.media.tell(subjects.live(PROJECT, call_id), b"news")
    assert await planes.control.last(event) == b"fact"  # asked for, and answered to control's inbox
    await planes.control.tell(subjects.command(call_id), b"the last of all")
    await marked.next()
    assert inbox.is_empty
    for subscription in hearing:
        await subscription.close()


async def test_control_deletes_no_stream(planes: Planes) -> None:
    """Streams outlive a control plane gone wrong: it empties the subjects of settled calls, and that is all."""
    with pytest.raises(NoAnswer):
        await planes.control.ask(f"$JS.API.STREAM.DELETE.{TC_CALLS.name}", b"", timeout_s=REFUSED_WITHIN_S)
    await planes.control.prepare(STREAMS)


async def test_the_containers_health_check_is_answered(planes: Planes) -> None:
    """The page that compose asks exists, on the loopback interface of the container."""
    async with httpx.AsyncClient(trust_env=False) as client:
        page = await client.get(f"http://127.0.0.1:{planes.server.monitoring_port}/healthz")
    assert page.json() == {"status": "ok"}
