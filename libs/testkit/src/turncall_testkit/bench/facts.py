"""Facts from the stream into rows: a backlog that one projector drains, and how soon facts are stored as they come."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg
from msgspec import Struct

from turncall import procfs
from turncall_bus import nats
from turncall_bus.bus import Bus
from turncall_proto import subjects
from turncall_proto.codec import encode
from turncall_proto.events import EpochOpened, Event, TranscriptFinal, UtteranceBegun
from turncall_proto.ids import CallId
from turncall_testkit.bench.plant import Plant
from turncall_testkit.bench.spending import per_second, spent

IN_FLIGHT: Final = 200
LOOK_EVERY_S: Final = 0.02
STALLED_S: Final = 60.0
TICK_S: Final = 0.005
SAID: Final = "I would like to book an appointment on Tuesday"


class Stalled(Exception):
    """The projector does not get on; the message says how far it came."""


class Miscounted(Exception):
    """Not all that was published is in effect once; the message says what is."""


class Drained(Struct, frozen=True, kw_only=True):
    """A backlog that was stored. ``capacity``: facts that each process would manage in a second of a core."""

    facts_per_s: float
    stored: int
    deliveries: int
    capacity: dict[str, float]


def story(plant: Plant, call_id: CallId, facts: int) -> list[Event]:
    """What a worker might state of a call that goes on: ``facts`` of them, the first one that it has the audio."""
    stated: list[Event] = []
    for seq in range(1, facts + 1):
        head: dict[str, Any] = {
            "call_id": call_id,
            "project_id": plant.project_id,
            "epoch": 1,
            "seq": seq,
            "at": datetime.now(UTC),
        }
        if seq == 1:
            stated.append(EpochOpened(**head, worker=plant.workers[0]))
        elif seq % 2:
            stated.append(TranscriptFinal(**head, speaker="caller", text=SAID, turn=seq, start_ms=seq, end_ms=seq))
        else:
            stated.append(UtteranceBegun(**head, speaker="caller", text=SAID, turn=seq, start_ms=seq))
    return stated


@asynccontextmanager
async def subscriber(plant: Plant) -> AsyncIterator[None]:
    """A subscription to everything whose server takes connections and never answers, so that sending costs nothing."""

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    made = await plant.api.create_webhook(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks")
    try:
        yield
    finally:
        await plant.api.delete_webhook(made.webhook.id)
        server.close()


async def drain(plant: Plant, calls: int, facts: int) -> Drained:
    """Has the control process stand still while ``facts`` of each call are published, and go on. Raises `Stalled`, and
    `Miscounted`, also when the deliveries of what the one subscription wants are not there."""
    rung = await asyncio.gather(*(plant.ring() for _ in range(calls)))
    stories = [story(plant, call_id, facts) for call_id, _ in rung]
    async with await psycopg.AsyncConnection.connect(plant.servers.urls.database_system_url, autocommit=True) as rows:
        call_ids = [call_id.removeprefix("call_") for call_id, _ in rung]
        before = await _stored(rows, call_ids)
        with _Still(plant.control_pid):
            await _publish(plant, [fact for moment in zip(*stories, strict=True) for fact in moment])
            used = spent(plant.pids)
        # Each call that opens has its answer stated beside the facts that were published.
        points = await _watch(rows, call_ids, before, calls * (facts + 1))
        capacity = per_second(calls * (facts + 1), used, spent(plant.pids))
        cursor = await rows.execute(
            "select count(*) from webhook_deliveries where call_id = any(%s::uuid[]) and type = 'transcript.final'",
            (call_ids,),
        )
        deliveries = (await cursor.fetchone() or (0,))[0]
        told = sum(isinstance(fact, TranscriptFinal) for one in stories for fact in one)
        if (points[-1][1], deliveries) != (calls * (facts + 1), told):
            raise Miscounted(f"{points[-1][1]} of {calls * (facts + 1)} facts, {deliveries} of {told} deliveries")
    (began_s, first), (ended_s, last) = points[0], points[-1]
    return Drained(
        facts_per_s=(last - first) / (ended_s - began_s) if ended_s > began_s else float(last),
        stored=last,
        deliveries=deliveries,
        capacity=capacity,
    )


async def lateness_ms(plant: Plant, calls: int, rate_per_s: int, lasts_s: float) -> list[float]:
    """From before a fact is published to after its follower was told that it is stored, at a steady rate."""
    rung = await asyncio.gather(*(plant.ring() for _ in range(calls)))
    facts = round(rate_per_s * lasts_s)
    stories = [story(plant, call_id, facts // calls) for call_id, _ in rung]
    queue = [fact for moment in zip(*stories, strict=True) for fact in moment]
    loop = asyncio.get_running_loop()
    sent_s: dict[tuple[str, int], float] = {}
    told_ms: list[float] = []
    everything = asyncio.Event()

    async def hear(subject: str, data: bytes) -> None:
        news = msgspec.json.decode(data, type=_News)
        began_s = sent_s.pop((subject.rpartition(".")[2], news.seq), None) if news.epoch == 1 else None
        if began_s is not None:
            told_ms.append(1000 * (loop.time() - began_s))
        if len(told_ms) == len(queue):
            everything.set()

    bus = await nats.connect(plant.servers.urls.nats_url, name="bench")
    try:
        await bus.prepare(subjects.STREAMS)
        interest = await bus.hear(f"{subjects.ROOT}.live.{plant.project_id}.*", hear)
        began_s = loop.time()
        async with asyncio.TaskGroup() as group:
            for number, fact in enumerate(queue):
                due_s = began_s + number / rate_per_s
                if due_s - loop.time() > TICK_S:
                    await asyncio.sleep(due_s - loop.time())
                sent_s[fact.call_id, fact.seq] = loop.time()
                group.create_task(_store(bus, fact))
        try:
            async with asyncio.timeout(STALLED_S):
                await everything.wait()
        except TimeoutError as error:
            raise Stalled(f"of {len(queue)} facts {len(told_ms)} were told to a follower") from error
        await interest.close()
    finally:
        await bus.close()
    return told_ms


class _News(Struct, frozen=True, kw_only=True):
    epoch: int = 0
    seq: int = 0


class _Still:
    """Stops a process and its children, as a pause of the machine does, and lets them go on."""

    def __init__(self, pid: int) -> None:
        self._pids = list(procfs.tree(pid))

    def __enter__(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)


async def _publish(plant: Plant, facts: Sequence[Event]) -> None:
    bus = await nats.connect(plant.servers.urls.nats_url, name="bench")
    try:
        await bus.prepare(subjects.STREAMS)
        waiting = iter(facts)

        async def lane() -> None:
            for fact in waiting:
                await _store(bus, fact)

        await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
    finally:
        await bus.close()


async def _store(bus: Bus, fact: Event) -> None:
    subject = subjects.call(fact.project_id, fact.call_id, "event")
    await bus.publish(subject, encode(fact), message_id=subjects.message_id(fact.call_id, fact.epoch, fact.seq))


async def _stored(rows: psycopg.AsyncConnection[Any], call_ids: list[str]) -> int:
    cursor = await rows.execute(
        "select coalesce(sum(event_count), 0)::int from calls where id = any(%s::uuid[])", (call_ids,)
    )
    return int((await cursor.fetchone() or (0,))[0])


async def _watch(
    rows: psycopg.AsyncConnection[Any], call_ids: list[str], before: int, awaited: int
) -> list[tuple[float, int]]:
    """Moments and how much was stored by then, from the first progress to the end."""
    loop = asyncio.get_running_loop()
    points: list[tuple[float, int]] = []
    progress_s = loop.time()
    while not points or points[-1][1] < awaited:
        stored = await _stored(rows, call_ids) - before
        if stored > (points[-1][1] if points else 0):
            progress_s = loop.time()
            points.append((progress_s, stored))
        elif loop.time() - progress_s > STALLED_S:
            raise Stalled(f"of {awaited} facts {stored} are stored, and nothing moves")
        await asyncio.sleep(LOOK_EVERY_S)
    return points
