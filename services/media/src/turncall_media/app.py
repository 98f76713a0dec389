"""A media worker put together: one order to start in, one way to drain, and everything closed in reverse."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Final

from msgspec import json
from prometheus_client import CollectorRegistry

from turncall_blobs import BlobStore, open_store
from turncall_bus.bus import Away, Bus
from turncall_bus.nats import connect
from turncall_bus.spool import Spool
from turncall_media.background import keep_running
from turncall_media.circuits import Circuits
from turncall_media.config import MediaConfig
from turncall_media.counters import Counters
from turncall_media.errors import SecretUnusable
from turncall_media.ingress.beats import Beats
from turncall_media.ingress.capacity import Capacity
from turncall_media.ingress.lag import LagProbe
from turncall_media.ingress.load import CpuShare, Load
from turncall_media.ingress.offers import Offers
from turncall_media.ingress.sockets import MAX_STRANGERS, Answer, Door, Pages
from turncall_media.jobs.shape import Desk
from turncall_media.reception import Reception
from turncall_media.rehearsal import rehearse
from turncall_media.report.live import LiveFeed
from turncall_media.report.recorder import keep_adopting
from turncall_media.report.settlement import keep_settling
from turncall_media.session import Build, Station
from turncall_media.text.embedding import Embeddings
from turncall_media.toolservers.doors import commands
from turncall_media.workshop import Workshop
from turncall_proto import ids, subjects
from turncall_proto.agent import AgentSpec
from turncall_proto.call import CallStart
from turncall_proto.codec import decode, encode
from turncall_proto.command import CommandReply, DrainWorker
from turncall_proto.ids import WorkerId
from turncall_proto.placement import Pool, WorkerBeat
from turncall_proto.stream_token import parse_keys
from turncall_runtime import garbage, lifecycle, logs, metrics, seal

_log = logs.logger(__name__)

WRAP_UP_S: Final = 75.0
"""After the drain's time is up: for hang-ups, and for recordings on their way to the store."""
CUT_OFF_S: Final = 2.0
"""What calls get to end by themselves when the process is told to stop at once."""
FLUSH_S: Final = 5.0
"""For the last facts to be acknowledged; what is not stays on disk for the next process."""
CONNECT_WITHIN_S: Final = 10.0

Chore = Callable[[Callable[[], bool]], Coroutine[None, None, None]]
"""Work for a worker that may ask whether nobody is served at the moment."""


class Worker:
    """One process of the pools that it is told to join. `start` and `drain` are for `turncall_runtime.lifecycle.run`.

    ``id`` is new for every process; ``port`` is the real one once `start` has returned.
    """

    def __init__(
        self,
        config: MediaConfig,
        life: lifecycle.Life,
        build: Build,
        unfit: Callable[[CallStart], str | None],
        rehearsal: AgentSpec | None,
        chore: Chore | None = None,
    ) -> None:
        self.id = WorkerId(ids.mint(ids.WORKER))
        self._config = config
        self._life = life
        self._build = build
        self._agent = rehearsal
        self._chore = chore
        self._is_loaded = chore is None
        self._version = version("turncall-media")
        self._registry = metrics.new_registry("media", self._version)
        metrics.watch(
            self._registry, "turncall_media_is_loaded", "Whether all vendors' code is.", lambda: float(self._is_loaded)
        )
        self._counters = Counters(self._registry)
        self._lag = LagProbe(self._stood_still)
        self._cpu: CpuShare | None = None
        self._cpu_share = 0.0
        self._handover_after_s = config.handover_after_s
        self._capacity = Capacity(
            worker=self.id,
            slots=config.slots if "calls" in config.pools else 0,
            unfit=unfit,
            load=self._load,
            clock_s=time.monotonic,
            now=_now,
            counters=self._counters,
        )
        self._beats: Beats | None = None
        self._reception: Reception | None = None
        self._workshop: Workshop | None = None
        self._pool: Pool = "calls" if "calls" in config.pools else "text"
        self.port = config.media_port

    async def start(self, stack: AsyncExitStack) -> None:
        """Opens everything in the order of need; the worker takes calls when it returns.

        The bus comes first and is waited for: a worker that never met it knows of no calls. Sockets open before the
        first beat, the beat last. Closed in reverse, so that calls end while there still is a bus to say so.
        """
        config = self._config
        for key in config.seal_private_keys:
            seal.public_key_of(key)  # a malformed key stops the start, not the first call
        bus = await self._connect()
        stack.push_async_callback(bus.close)
        blobs = await stack.enter_async_context(
            open_store(config.blobs_url, config.blobs_access_key, config.blobs_secret_key.reveal())
        )
        spool = await self._open_spool(stack, bus)
        feed = LiveFeed(bus, self._counters)
        self._keep(stack, "live feed", feed.run())
        self._keep(stack, "lag probe", self._lag.run())
        recordings = Path(config.spool_dir) / "recordings"
        self._keep(stack, "recordings", keep_adopting(recordings, blobs))
        station = Station(
            worker=self.id,
            bus=bus,
            append=spool.append,
            feed=feed,
            build=self._build,
            open_secret=self._open_secret,
            blobs=blobs,
            egress_allow=config.egress_allow,
            recordings_spool=recordings,
            circuits=Circuits(time.monotonic),
            mcp_programs=commands(config.mcp_commands),
            models_dir=config.models_dir,
            owned=set(),
            now=_now,
            counters=self._counters,
        )
        self._keep(
            stack, "settlement", keep_settling(spool, bus, lambda call_id, epoch: (call_id, epoch) in station.owned)
        )
        if self._agent is not None and "calls" in config.pools:
            _log.info("worker.rehearsed", first_words_s=round(await rehearse(station, self._agent), 3))
        self._reception = await self._open_door(stack, station)
        for subject, answer in (
            (subjects.offer(self.id), self._capacity.answer),
            (subjects.sdp(self.id), Offers(self._capacity, self._reception.serve, _now).answer),
            (subjects.worker(self.id), self._told),
        ):
            serving = await bus.serve(subject, answer)
            stack.push_async_callback(serving.close)
        if "text" in config.pools:
            await self._open_workshop(stack, bus, blobs)
        self._cpu = CpuShare()
        self._beats = Beats(bus, subjects.beat(self._pool, self.id), self._pulse)
        self._keep(stack, "beats", self._beats.run())
        garbage.spare_the_lasting()
        if self._chore is not None:
            self._keep(stack, "chore", self._finish(self._chore))
        _log.info("worker.started", worker=self.id, pools=config.pools, media_url=config.media_url)

    async def drain(self) -> None:
        """Refuses new calls and jobs and waits for those there are. After ``handover_after_s`` each call is handed over
        in its next quiet moment, after ``drain_s`` at once, and jobs are given back."""
        assert self._beats is not None  # the drain comes after the start
        self._capacity.is_draining = True
        self._beats.soon()
        async with asyncio.TaskGroup() as ending:
            if self._workshop is not None:
                ending.create_task(self._workshop.close(self._config.drain_s))
            ending.create_task(self._end_calls())

    async def _end_calls(self) -> None:
        assert self._reception is not None  # the drain comes after the start
        hard_s = self._config.drain_s
        soft_s = min(self._handover_after_s, hard_s)
        _log.info("worker.draining", calls=self._capacity.used, handover_after_s=soft_s, at_most_s=hard_s)
        for wait_s, at_once in ((soft_s, False), (hard_s - soft_s, True)):
            try:
                async with asyncio.timeout(wait_s):
                    await self._reception.emptied()
                return
            except TimeoutError:
                calls = self._reception.hand_over_all(at_once=at_once)
                _log.info("worker.hands_over", calls=calls, at_once=at_once)
        await self._reception.emptied()

    async def _told(self, data: bytes) -> bytes:
        """Takes an operator's word. A drain ends the process, like SIGTERM; whoever runs it may start a new one."""
        asked = decode(data, DrainWorker)
        if _now() >= asked.deadline:
            return encode(CommandReply(outcome="late"))
        if not self._capacity.is_draining and asked.handover_after_s is not None:
            self._handover_after_s = asked.handover_after_s
        self._capacity.is_draining = True  # no offer that comes after the answer is accepted
        self._life.drain()
        return encode(CommandReply(outcome="done"))

    async def _connect(self) -> Bus:
        while True:
            try:
                return await connect(
                    self._config.nats_url.reveal(), name=f"media {self.id}", timeout_s=CONNECT_WITHIN_S
                )
            except Away as error:
                _log.warning("bus.away", why=str(error))

    async def _open_spool(self, stack: AsyncExitStack, bus: Bus) -> Spool:
        spool = Spool(Path(self._config.spool_dir), bus)
        stack.callback(spool.close)
        self._keep(stack, "spool", spool.run())

        async def flush() -> None:
            if not await spool.flush(FLUSH_S):
                _log.warning("spool.kept", why="the bus did not take every fact; the next process goes on from disk")

        stack.push_async_callback(flush)
        metrics.watch(
            self._registry, "turncall_media_spooled_epochs", "Epochs on disk.", lambda: float(len(spool.epochs()))
        )
        return spool

    async def _open_door(self, stack: AsyncExitStack, station: Station) -> Reception:
        reception = Reception(self._capacity, station)
        door = Door(
            parse_keys(self._config.stream_keys.reveal()),
            reception.receive,
            _pages(self._life, self._registry),
            self._counters,
            MAX_STRANGERS,
        )
        server = await door.open(self._config.media_host, self._config.media_port)
        self.port = server.sockets[0].getsockname()[1]

        async def close() -> None:
            server.close(close_connections=False)
            if reception.hand_over_all(at_once=True):
                await asyncio.wait({asyncio.ensure_future(reception.emptied())}, timeout=CUT_OFF_S)
                await reception.cut_off()
            await server.wait_closed()

        stack.push_async_callback(close)
        for name, read in (("total", lambda: self._capacity.slots), ("used", lambda: self._capacity.used)):
            metrics.watch(self._registry, f"turncall_media_slots_{name}", f"Slots, {name}.", read)
        metrics.watch(self._registry, "turncall_media_cpu_share", "CPU of 5 s, by one core's.", lambda: self._cpu_share)
        metrics.watch(self._registry, "turncall_media_loop_lag_seconds", "p99 of 5 s.", lambda: self._lag.p99_ms / 1000)
        usual = "turncall_media_loop_lag_median_seconds"
        metrics.watch(self._registry, usual, "p50 of 5 s.", lambda: self._lag.quantile_ms(0.5) / 1000)
        return reception

    async def _open_workshop(self, stack: AsyncExitStack, bus: Bus, blobs: BlobStore) -> None:
        """Jobs are taken from here on; those in hand when the process must end are given back."""
        desk = Desk(
            bus=bus,
            blobs=blobs,
            open_secret=self._open_secret,
            egress_allow=self._config.egress_allow,
            mcp_programs=commands(self._config.mcp_commands),
            now=_now,
        )
        embeddings = Embeddings(self._open_secret, self._config.egress_allow, _now)
        stack.push_async_callback(embeddings.close)
        serving = await bus.serve(subjects.EMBED, embeddings.answer, queue=subjects.TEXT_QUEUE)
        stack.push_async_callback(serving.close)
        workshop = Workshop(desk, self._config.job_slots, self._counters.jobs)
        stack.push_async_callback(workshop.close, CUT_OFF_S)
        await workshop.open()
        metrics.watch(self._registry, "turncall_media_jobs_running", "Jobs in hand.", lambda: float(workshop.busy))
        self._workshop = workshop

    def _stood_still(self, for_s: float) -> None:
        """Lets go of every call: others may have them already, and what the callers said meanwhile is stale."""
        calls = self._reception.leave_all() if self._reception is not None else 0
        if calls:
            _log.error("worker.stood_still", for_s=round(for_s, 1), calls=calls)

    async def _finish(self, chore: Chore) -> None:
        await chore(lambda: not self._capacity.used)
        self._is_loaded = True

    def _keep(self, stack: AsyncExitStack, name: str, work: Coroutine[None, None, None]) -> None:
        keep_running(stack, name, work, self._life.drain)

    def _load(self) -> Load:
        """What this process bears; the CPU figure is the one of the last beat."""
        return Load(
            lag_ms=self._lag.p99_ms,
            cpu_share=self._cpu_share,
            max_lag_ms=self._config.max_lag_ms,
            max_cpu_share=self._config.max_cpu_share,
        )

    def _pulse(self) -> WorkerBeat:
        if self._cpu is not None:
            self._cpu_share = self._cpu.read()
        load = self._load()
        used = (self._capacity.slots, self._capacity.used)
        if self._pool == "text" and self._workshop is not None:
            used = (self._workshop.places, self._workshop.busy)
        return WorkerBeat(
            worker=self.id,
            pool=self._pool,
            slots_total=used[0],
            slots_used=used[1],
            lag_ms=load.lag_ms,
            cpu_share=load.cpu_share,
            is_overloaded=load.refusal("inbound") is not None,
            version=self._version,
            media_url=self._config.media_url,
            is_draining=self._capacity.is_draining,
        )

    def _open_secret(self, sealed: str) -> str:
        try:
            return seal.open_sealed(sealed, self._config.seal_private_keys).reveal()
        except seal.SealError as error:
            raise SecretUnusable(f"a vendor's key cannot be opened: {error}") from error


def _pages(life: lifecycle.Life, registry: CollectorRegistry) -> Pages:
    """``/health``: the loop turns. ``/ready``: calls are welcome. ``/metrics``."""

    def health(_: str) -> Answer:
        return Answer(body=b"alive\n")

    def ready(_: str) -> Answer:
        readiness = life.readiness()
        status = HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(body=json.encode(readiness), content_type="application/json", status=status)

    def measured(accept: str) -> Answer:
        page = metrics.page(registry, accept)
        return Answer(body=page.body, content_type=page.content_type)

    return {"/health": health, "/ready": ready, "/metrics": measured}


def _now() -> datetime:
    return datetime.now(UTC)


async def run(
    config: MediaConfig,
    build: Build,
    unfit: Callable[[CallStart], str | None],
    rehearsal: AgentSpec | None,
    chore: Chore | None = None,
) -> bool:
    """Runs a worker until a signal ends it. Whether all its work was finished: False after SIGINT.

    ``build`` makes conversations, ``unfit`` says why a plan cannot be served by this installation, ``rehearsal`` is an
    agent that needs no account, called once before the first beat. ``chore`` is done beside the calls, after the
    first beat. Raises what keeps the worker from starting.
    """
    life = lifecycle.Life()
    worker = Worker(config, life, build, unfit, rehearsal, chore)
    return await lifecycle.run(life, worker.start, worker.drain, config.drain_s + WRAP_UP_S)
