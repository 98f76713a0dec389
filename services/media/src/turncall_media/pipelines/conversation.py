"""One call's conversation, from the opened wire to the outcome."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from typing import Any, Final

from msgspec import Struct
from pipecat.frames.frames import ErrorFrame, InterruptionFrame, LLMRunFrame, StartFrame
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.utils.asyncio.task_manager import TaskManager
from pipecat.utils.errors import ErrorCategory
from pipecat.workers.runner import WorkerRunner

from turncall_egress import EgressClient
from turncall_media.answers import NoAnswer
from turncall_media.pipelines.apologies import apology, please_repeat
from turncall_media.pipelines.cascade import CANCEL_WITHIN_S
from turncall_media.pipelines.ending import Ending
from turncall_media.pipelines.faults import Faults
from turncall_media.pipelines.giving import Giving
from turncall_media.pipelines.kit import Kit
from turncall_media.pipelines.openings import Opening
from turncall_media.pipelines.orders import Orders
from turncall_media.pipelines.quiet import quiet
from turncall_media.pipelines.speech import Speech
from turncall_media.report.events import Narrator, Stage
from turncall_media.report.recorder import Recorder
from turncall_media.seams import Outcome
from turncall_proto.agent import AgentSpec
from turncall_proto.call import EndedReason
from turncall_proto.command import AnyCommand, CommandReply, EndCall
from turncall_runtime import logs

APOLOGY_WITHIN_S: Final = 15.0
RECORDING_WITHIN_S: Final = 60.0
"""For the rest of a recording to reach the store once the call is over; then it waits in the spool, unreported."""
_DEAD_WITHIN_S: Final = 2.0
_log = logs.logger(__name__)


Watch = Callable[[], Coroutine[Any, Any, None]]


class Parts(Struct, frozen=True, kw_only=True):
    """What a conversation is made of. ``recorder`` is None when nothing is recorded; ``lasts_s`` at the longest.
    ``kit`` is None when no model is asked.

    ``orders`` and ``giving`` are None when it has nobody to give orders to, or to be given away by. ``watches`` run
    beside the conversation from the moment when it is open.
    """

    agent: AgentSpec
    lasts_s: float
    worker: PipelineWorker
    stages: dict[FrameProcessor, Stage]
    ending: Ending
    narrator: Narrator
    speech: Speech
    faults: Faults
    recorder: Recorder | None
    egress: EgressClient
    orders: Orders | None = None
    kit: Kit | None = None
    giving: Giving | None = None
    watches: tuple[Watch, ...] = ()


class Conversation:
    """Runs once. The wire must be open before `run`. ``opening`` is what it does first; None: it says that it cannot go
    on, and ends."""

    def __init__(self, parts: Parts, opening: Opening | None) -> None:
        self._parts = parts
        self._opening = opening
        self._tasks: set[asyncio.Task[None]] = set()
        self._recording: asyncio.Task[None] | None = None
        self._is_live = asyncio.Event()
        self._is_open = asyncio.Event()

    async def run(self) -> Outcome:
        """Speaks and listens until the call ends, then says how. Never raises but for cancellation.

        On return everything but the recording is reported, and that is left to `finish`.
        """
        parts = self._parts
        if parts.recorder is not None:
            self._recording = asyncio.create_task(parts.recorder.run(), name="recorder")
        try:
            async with parts.egress, parts.kit or nullcontext():
                outcome = await self._converse()
        except BaseException:
            await _end_all([self._recording] if self._recording is not None else [])
            raise
        parts.narrator.closed()
        return outcome

    async def finish(self) -> None:
        """Waits for the recording to reach the store, for `RECORDING_WITHIN_S`, and reports it."""
        recorder, recording = self._parts.recorder, self._recording
        if recorder is None or recording is None:
            return
        try:
            stored = await recorder.close(recording, RECORDING_WITHIN_S)
            if stored is not None:
                self._parts.narrator.recorded(stored)
        finally:
            await _end_all([recording])

    async def obey(self, command: AnyCommand) -> CommandReply:
        """Does what a person asks of the call, as soon as it is live. An end cuts speech that is under way."""
        if isinstance(command, EndCall):
            self._parts.ending.because(command.reason)
            self._parts.narrator.obeyed(command)
            return CommandReply(outcome="done")
        if self._parts.orders is None:
            return CommandReply(outcome="refused", detail="the agent cannot go on with the call")
        await self._is_live.wait()
        return await self._parts.orders.obey(command, self._start)

    def hand_over(self, *, at_once: bool) -> None:
        """Ends the conversation here so that it goes on elsewhere: at the next quiet moment, or ``at_once``."""
        if at_once:
            self._parts.ending.elsewhere()
        else:
            self._start(self._hand_over_quietly())

    async def _hand_over_quietly(self) -> None:
        await self._is_open.wait()
        await quiet(self._parts.speech, self._parts.narrator)
        self._parts.ending.elsewhere()

    async def _converse(self) -> Outcome:
        ending, worker = self._parts.ending, self._parts.worker
        manager = TaskManager()
        worker.add_event_handler("on_pipeline_started", self._open)
        worker.add_event_handler("on_pipeline_error", self._judge)
        worker.add_event_handler("on_setup_timeout", self._blocked)
        worker.add_event_handler("on_pipeline_timeout", self._blocked)
        running = asyncio.create_task(self._run_worker(manager), name="pipeline")
        running.add_done_callback(self._ran_out)
        try:
            async with asyncio.timeout(self._parts.lasts_s):
                return await ending.wait()
        except TimeoutError:
            ending.because(EndedReason.MAX_DURATION_REACHED)
            return await ending.wait()
        finally:
            if ending.outcome is not None and ending.outcome.state is None:
                self._parts.narrator.cut_off()
            await self._stop(running, manager)

    def _ran_out(self, running: asyncio.Task[None]) -> None:
        """The pipeline ended; if nobody meant it to, something broke."""
        if not running.cancelled() and running.exception() is not None:
            _log.error("pipeline.broke", why="its runner failed", exc_info=running.exception())
        self._parts.ending.because(EndedReason.PIPELINE_ERROR)

    async def _run_worker(self, manager: TaskManager) -> None:
        runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False, task_manager=manager)
        await runner.add_workers(self._parts.worker)
        await runner.run()

    async def _stop(self, running: asyncio.Task[None], manager: TaskManager) -> None:
        """Cancels the pipeline, in good order within `CANCEL_WITHIN_S`, and then whatever is left of it.

        Pipecat's own end frame has no deadline, and a vendor that swallows a cancellation would hold the call for ever.
        """
        giving = self._parts.giving
        await _end_all([*self._tasks, *(giving.tasks if giving is not None else ())])
        if not running.done():
            await self._parts.worker.cancel()
            await asyncio.wait({running}, timeout=CANCEL_WITHIN_S)
        await _end_all([running, *manager.current_tasks()])

    async def _open(self, _: PipelineWorker, __: StartFrame) -> None:
        self._is_live.set()
        self._start(self._give_up("llm") if self._opening is None else self._begin(self._opening))

    async def _begin(self, opening: Opening) -> None:
        await opening()
        self._is_open.set()
        for watch in self._parts.watches:
            self._start(watch())

    async def _judge(self, worker: PipelineWorker, error: ErrorFrame) -> None:
        """Something in the pipeline failed: a vendor, or we did."""
        if error.category is ErrorCategory.APPLICATION or self._parts.ending.outcome is not None:
            return
        stage = self._parts.stages.get(error.processor) if error.processor is not None else None
        if stage is None:
            _log.error("pipeline.broke", processor=str(error.processor), why=error.error, exc_info=error.exception)
            self._parts.ending.because(EndedReason.PIPELINE_ERROR)
            return
        is_usable = error.processor is not None and error.processor.is_usable
        verdict = self._parts.faults.failed(
            stage, is_usable=is_usable, is_no_answer=isinstance(error.exception, NoAnswer)
        )
        self._parts.narrator.vendor_failed(stage, error.error, is_fatal=verdict == "give_up")
        if verdict == "retry":
            await worker.queue_frames([InterruptionFrame(), LLMRunFrame()])  # away with the half of a reply
        elif verdict == "excuse":
            await self._parts.speech.say(please_repeat(self._parts.agent.language), is_kept=True)
        elif verdict == "give_up":
            self._start(self._give_up(stage))

    async def _give_up(self, stage: Stage) -> None:
        """Nobody else serves this stage: the caller hears an apology, if there still is a voice, and the call ends."""
        if stage != "tts":
            with suppress(TimeoutError):
                async with asyncio.timeout(APOLOGY_WITHIN_S):
                    await self._parts.speech.apologise(apology(self._parts.agent.language))
                    await self._parts.speech.heard()
        self._parts.ending.because(EndedReason.VENDOR_ERROR)

    async def _blocked(self, *_: object) -> None:
        """A vendor did not connect in time, or lets nothing through."""
        self._parts.ending.because(EndedReason.VENDOR_ERROR)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("pipeline.broke", why="a step of the conversation failed", exc_info=task.exception())
            self._parts.ending.because(EndedReason.PIPELINE_ERROR)


async def _end_all(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancels what still runs and waits until it is gone, but not for ever."""
    running = {task for task in tasks if not task.done() and task is not asyncio.current_task()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=_DEAD_WITHIN_S)
