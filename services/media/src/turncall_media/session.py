"""One call on one wire, from its first message to its one close."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from turncall_blobs.store import BlobStore
from turncall_bus.bus import Away, Bus, BusError
from turncall_media.acts import HandOffs, HangUp, Links, OptOut, Questions, Transfers
from turncall_media.circuits import Circuits
from turncall_media.commands import Commands
from turncall_media.counters import Counters
from turncall_media.errors import MediaError, NeverConnected, NotOurs, WireError
from turncall_media.ingress import claims, past
from turncall_media.report.live import LiveFeed
from turncall_media.report.reporter import EpochReporter
from turncall_media.seams import Conversation, Outcome, Past, Reporter, Resources, SocketClosed
from turncall_media.wire.stream import StreamStart, Wire
from turncall_proto import subjects
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.events import Event
from turncall_proto.ids import CallId, WorkerId
from turncall_runtime import logs

_log = logs.logger(__name__)

PLAN_WITHIN_S: Final = 2.0
"""How long a worker that was not offered the call looks for its plan; the caller hears silence meanwhile."""
CLAIM_AGAIN_S: Final = 1.0
CARRIER_CLOSES_WITHIN_S: Final = 5.0
"""From control's promise to hang up to the carrier's close of the socket."""

Leaving = Literal["stays", "quietly", "at_once"]
"""Whether a call is to be handed over, and whether that may be heard."""

Build = Callable[[CallStart, Wire, Reporter, Resources, Past | None], Awaitable[Conversation]]
"""The last one is what earlier workers said about the call; None when there was none."""

FACTS_FIRST_S: Final = 0.5
"""How long a socket stays open for the last facts, which tell control why it closes. A slow store does not hold it."""

_BROKE: Final = Outcome(state=CallState.FAILED, reason=EndedReason.PIPELINE_ERROR)
_GOES_ON: Final = Outcome(state=None, reason=None)
_ENDS_HERE: Final = Outcome(state=CallState.FAILED, reason=EndedReason.WORKER_LOST)
"""Of a call that cannot go on with another worker, when this one has to let go of it."""
_HANDED_OVER: Final = (1012, "another worker goes on", "handed_over")


class Station(Struct, frozen=True, kw_only=True):
    """What all calls of one worker share.

    ``owned`` are the epochs that have begun here and not ended; a session enters its own and removes it.
    """

    worker: WorkerId
    bus: Bus
    append: Callable[[Event], None]
    feed: LiveFeed
    build: Build
    open_secret: Callable[[str], str]
    blobs: BlobStore
    egress_allow: tuple[str, ...]
    recordings_spool: Path
    circuits: Circuits
    mcp_programs: Mapping[str, tuple[str, ...]]
    models_dir: str
    owned: set[tuple[CallId, int]]
    now: Callable[[], datetime]
    counters: Counters


class CallSession:
    """Opens the wire, finds the plan, builds the conversation, runs it, closes once. ``plan``: as accepted, if it was.

    Whatever happens, an epoch that was opened is closed, control is asked to hang up unless the caller did or the call
    goes on elsewhere, and the socket is closed.
    """

    def __init__(self, wire: Wire, call_id: CallId, epoch: int, plan: CallStart | None, station: Station) -> None:
        self._wire = wire
        self._call_id = call_id
        self._epoch = epoch
        self._plan = plan
        self._station = station
        self._conversation: Conversation | None = None
        self._finishing: list[asyncio.Task[None]] = []
        self._owned: list[tuple[CallId, int]] = []
        self._leaves: Leaving = "stays"

    def hand_over(self, *, at_once: bool) -> None:
        """Has another worker go on with the call, from the next quiet moment or ``at_once``. A call that is still being
        set up is handed over once it runs. One that no other worker could go on with stays as long as it may."""
        if self._wire.is_fixed and not at_once:
            return
        self._leaves = "at_once" if at_once else "quietly"
        if self._conversation is not None:
            self._conversation.hand_over(at_once=at_once)

    async def run(self) -> None:
        """Serves the call until its socket is closed; `finish` does the rest. Raises only when cancelled."""
        code, why, fate = _HANDED_OVER
        with logs.bound(call_id=self._call_id, epoch=self._epoch):
            try:
                if (await self._serve()).state is not None:
                    code, why, fate = 1000, "the call is over", "served"
            except SocketClosed:
                fate = "left_early"
            except asyncio.CancelledError:
                for finishing in self._finishing:
                    finishing.cancel()
                raise
            except MediaError as error:
                code, why, fate = error.close_code, "not served here", type(error).__name__
                _log.warning("socket.turned_away", why=str(error), error=type(error).__name__)
            finally:
                self._station.counters.sockets.labels(fate).inc()
                await self._wire.close(code, why)

    async def finish(self) -> None:
        """Returns when the last fact is stated, which waits for the recording. Call it after `run`, however that ended.

        Cancelled, it states the last fact at once.
        """
        try:
            if self._finishing:
                await asyncio.gather(*self._finishing)
        finally:
            self._station.owned.difference_update(self._owned)

    async def _serve(self) -> Outcome:
        wire = self._wire
        start = await self._opened(wire)
        self._enter(self._epoch)
        plan = self._plan or await claims.find_plan(
            self._station.bus, self._call_id, self._epoch, within_s=PLAN_WITHIN_S
        )
        if start.provider_call_id != plan.provider_call_id:
            raise WireError(f"the stream is of another call of the carrier than epoch {plan.epoch} of this one")
        outcome, told = await self._tell(plan, wire, await self._look_back(plan))
        while outcome.next_plan is not None:
            plan = outcome.next_plan
            self._enter(plan.epoch)
            wire.begin_again()
            with logs.bound(epoch=plan.epoch):
                outcome, told = await self._tell(plan, wire, told)
        return outcome

    async def _opened(self, wire: Wire) -> StreamStart:
        """What the stream says first. Of a call that is over with its stream that is told: nobody else would."""
        try:
            return await wire.open()
        except NeverConnected as error:
            if self._plan is not None:
                station = self._station
                reporter = EpochReporter(self._plan, station.append, station.feed, station.now, station.counters)
                if wire.page is None and error.outcome.reason is not None:
                    await HangUp(station.bus, self._plan, station.now)(error.outcome.reason)
                reporter.close(error.outcome)
            raise

    def _enter(self, epoch: int) -> None:
        """Of several sockets for one epoch on this worker, the first one to start wins. Raises `NotOurs`."""
        key = (self._call_id, epoch)
        if key in self._station.owned:
            raise NotOurs("another socket of this worker serves the epoch")
        self._station.owned.add(key)
        self._owned.append(key)

    async def _tell(self, plan: CallStart, wire: Wire, known: Past | None) -> tuple[Outcome, Past]:
        """The epoch between its first and its last fact, and all that is known of the call by then."""
        station = self._station
        reporter = EpochReporter(plan, station.append, station.feed, station.now, station.counters)
        hang_up = HangUp(station.bus, plan, station.now)
        outcome, is_taken = _GOES_ON, False
        finishing: asyncio.Task[None] | None = None
        try:
            reporter.open(station.worker, past.last_seq(known, plan.epoch - 1), known.facts if known else ())
            told = known if plan.handoff is None and plan.transfer_failed is None else _extended(known, reporter)
            outcome = await self._outcome(plan, wire, reporter, told)
            if wire.is_fixed and outcome == _GOES_ON:
                outcome = _ENDS_HERE
            why = None if wire.page or outcome.reason is EndedReason.CUSTOMER_ENDED_CALL else outcome.reason
            if why is not None and wire.is_fixed:
                # Its line is not closed with the stream, and control ends none of a call that is over.
                await hang_up(why)
            finishing = asyncio.create_task(self._close_epoch(self._conversation, reporter, outcome), name="last facts")
            self._finishing.append(finishing)
            if why is not None:
                is_taken = await hang_up(why)
        except NotOurs:
            reporter.discard()
            raise
        finally:
            if finishing is None:
                reporter.close(outcome)
            station.counters.epochs.labels(outcome.reason or "goes_on").inc()
        if is_taken or outcome.is_transferred:
            await wire.see_off(CARRIER_CLOSES_WITHIN_S)
        elif outcome.next_plan is None:
            await asyncio.wait({finishing}, timeout=FACTS_FIRST_S)
        return outcome, _extended(known, reporter)

    async def _close_epoch(self, conversation: Conversation | None, reporter: EpochReporter, outcome: Outcome) -> None:
        try:
            if conversation is not None:
                await conversation.finish()
        except Exception:  # noqa: BLE001 - the boundary of one call: the others go on
            _log.exception("call.broke")
        finally:
            reporter.close(outcome)

    async def _look_back(self, plan: CallStart) -> Past | None:
        known = await past.read(self._station.bus, plan)
        if known is not None:
            self._station.counters.pasts.labels("known" if known.is_known else "unknown").inc()
        return known

    async def _outcome(self, plan: CallStart, wire: Wire, reporter: EpochReporter, known: Past | None) -> Outcome:
        """How the conversation ended, or why there was none. Raises `NotOurs`."""
        resources = Resources(
            worker=self._station.worker,
            now=self._station.now,
            open_secret=self._station.open_secret,
            blobs=self._station.blobs,
            egress_allow=self._station.egress_allow,
            recordings_spool=self._station.recordings_spool,
            circuits=self._station.circuits,
            mcp_programs=self._station.mcp_programs,
            transfer=Transfers(self._station.bus, plan, self._station.now),
            send_link=Links(self._station.bus, plan, self._station.now),
            opt_out=OptOut(self._station.bus, plan, self._station.now),
            hand_off=HandOffs(self._station.bus, plan, self._station.worker, self._station.now),
            models_dir=self._station.models_dir,
            library=Questions(self._station.bus, plan.project_id, self._station.now),
        )
        self._conversation = None
        try:
            conversation = await self._station.build(plan, wire, reporter, resources, known)
            return await self._converse(conversation, plan, reporter, known)
        except NotOurs:
            raise
        except MediaError as error:
            _log.error("call.not_built", why=str(error), error=type(error).__name__)
            return error.outcome
        except Exception:  # noqa: BLE001 - the boundary of one call: the others go on
            _log.exception("call.broke")
            return _BROKE

    async def _converse(
        self, conversation: Conversation, plan: CallStart, reporter: EpochReporter, known: Past | None
    ) -> Outcome:
        self._conversation = conversation
        if self._leaves != "stays":
            conversation.hand_over(at_once=self._leaves == "at_once")
        outcome, is_ours = _BROKE, True
        try:
            async with asyncio.TaskGroup() as tasks:
                owning = tasks.create_task(self._own(conversation, plan, reporter, known))
                outcome = await conversation.run()
                owning.cancel()
        except* NotOurs:
            is_ours = False
        if not is_ours:
            raise NotOurs("another worker claimed the epoch first")
        return outcome

    async def _own(
        self, conversation: Conversation, plan: CallStart, reporter: EpochReporter, known: Past | None
    ) -> None:
        """Claims the epoch while the agent already speaks, then takes its commands. Raises `NotOurs`, which ends it.

        While the bus cannot say whose the epoch is, the call goes on, and its facts wait on disk.
        """
        station = self._station
        while True:
            try:
                is_ours = await claims.claim(station.bus, plan, station.worker, station.now)
                break
            except BusError:
                station.counters.claims.labels("undecided").inc()
                reporter.release()
                await asyncio.sleep(CLAIM_AGAIN_S)
        station.counters.claims.labels("won" if is_ours else "lost").inc()
        if not is_ours:
            raise NotOurs("another worker claimed the epoch first")
        reporter.release()
        await self._take_commands(Commands(conversation.obey, station.now, known.facts if known else ()))

    async def _take_commands(self, commands: Commands) -> None:
        while True:
            try:
                subscription = await self._station.bus.serve(subjects.command(self._call_id), commands.answer)
                break
            except Away:
                await asyncio.sleep(CLAIM_AGAIN_S)
        try:
            await asyncio.Event().wait()
        finally:
            await subscription.close()


def _extended(known: Past | None, reporter: EpochReporter) -> Past:
    """What was known of a call before an epoch, and what the epoch has stated so far."""
    if known is None:
        return Past(facts=tuple(reporter.told), is_known=True)
    return Past(facts=(*known.facts, *reporter.told), is_known=known.is_known)
