"""A stage with fallbacks: one vendor serves it at a time, and when it fails the next one does its work over.

Pipecat's switcher connects every vendor of every call and acts on rejected keys alone. Here the next vendor is built
and connected when it is needed, and an error or a silence is enough.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct
from pipecat.frames.frames import CancelFrame, ErrorFrame, Frame, InterruptionFrame, LLMRunFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
from pipecat.services.tts_service import TTSService
from pipecat.utils.errors import ErrorCategory

from turncall_media.circuits import Circuit, Circuits
from turncall_media.errors import SecretUnusable, VendorUnusable
from turncall_media.pipelines.redo import Redo
from turncall_media.report.events import Narrator, Stage

FIRST_SIGN_WITHIN_S: Final[dict[Stage, float]] = {"llm": 4.0, "tts": 3.0, "speech": 4.0}
"""From the request to the first token or sound. A transcription has no such moment, since a cough has no words: its
vendor says itself when words that are due do not come."""
CONNECT_WITHIN_S: Final = 3.0
RETIRE_WITHIN_S: Final = 3.0
_REFUSALS: Final = frozenset({ErrorCategory.AUTHENTICATION, ErrorCategory.AUTHORIZATION, ErrorCategory.INVALID_REQUEST})
"""Of a key or an option: they will be refused again in this call, and say nothing about other calls."""
Prepare = Callable[[FrameProcessor], None]


class Candidate(Struct, frozen=True, kw_only=True):
    """A vendor that may serve. ``build`` raises `VendorUnusable` and `SecretUnusable`."""

    vendor: str
    circuit: Circuit
    build: Callable[[], FrameProcessor]


class _Seat(FrameProcessor):
    """Stands on both sides of one vendor's service and tells what comes out of it. ``failure``: what it told before it
    served."""

    def __init__(
        self,
        candidate: Candidate,
        service: FrameProcessor,
        came: Callable[["_Seat", Frame, FrameDirection], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(enable_direct_mode=True)
        self.candidate = candidate
        self.service = service
        self.failure: ErrorFrame | None = None
        self._came = came
        self.link(service)
        service.link(self)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await self._came(self, frame, direction)


class Succession(FrameProcessor):
    """Serves ``stage`` with the first of ``candidates`` that can, then with the next.

    After a failure everybody is tried once until somebody works; who refused a key or an option is not tried again in
    this call. With nobody left it fails like a vendor that is not usable. Runs within its neighbours (direct mode).
    Raises `VendorUnusable` when nobody can even be built.
    """

    def __init__(
        self, stage: Stage, candidates: Sequence[Candidate], circuits: Circuits, redo: Redo, narrator: Narrator
    ) -> None:
        super().__init__(name=f"Succession{stage}", enable_direct_mode=True)
        self._stage = stage
        self._candidates = candidates
        self._circuits = circuits
        self._redo = redo
        self._narrator = narrator
        self._prepared: list[Prepare] = []
        self._tried: list[Candidate] = []
        self._refused: list[Candidate] = []
        self._why = ""  # the last failure that was not told yet
        self._start: StartFrame | None = None
        self._is_started = False  # the start went on
        self._alarm: asyncio.TimerHandle | None = None
        self._replacing: asyncio.Task[None] | None = None
        seat = self._next_seat(None)
        if seat is None:
            raise VendorUnusable(f"no {stage} vendor can be built: {self._why}")
        self._seat: _Seat | None = seat

    @property
    def service(self) -> FrameProcessor | None:
        """Who serves at this moment."""
        return None if self._seat is None else self._seat.service

    def prepare(self, prepare: Prepare) -> None:
        """Does this to who serves, and to everybody who will."""
        self._prepared.append(prepare)
        if self._seat is not None:
            prepare(self._seat.service)

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat narrows it
        """Connects the first vendor that answers; the last one has the pipeline's own time for it."""
        await super().setup(setup)
        while self._seat is not None:
            why = await self._connect(self._seat)
            if why is None:
                return
            following = self._next_seat(why)
            if following is None:  # the pipeline says what becomes of a stage that does not connect
                return
            self._retire(self._seat)
            self._seat = following

    async def cleanup(self) -> None:
        """Releases who serves."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        self._disarm()
        if self._replacing is not None:
            await self.cancel_task(self._replacing)
        if self._seat is not None:
            await self._seat.service.cleanup()  # type: ignore[no-untyped-call]

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """To who serves; while nobody does, what cannot wait passes by."""
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._start = frame
        if isinstance(frame, InterruptionFrame | CancelFrame):
            self._disarm()
        is_kept = self._redo.given(frame, direction)
        if self._seat is not None:
            if isinstance(frame, self._redo.requests):
                self._arm()
            await self._seat.service.queue_frame(frame, direction)
        elif not is_kept:
            await self.push_frame(frame, direction)

    async def _came(self, seat: _Seat, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, ErrorFrame) and frame.category is not ErrorCategory.APPLICATION:
            if seat is self._seat and self._start is not None:
                self._fail(frame.error, frame.category)
            elif seat.failure is None:
                seat.failure = frame
            return
        if seat is not self._seat:
            return
        if isinstance(frame, StartFrame):
            if self._is_started:
                return
            self._is_started = True
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
            return
        if lack := self._redo.lacks(frame):
            self._fail(lack, None)
            return
        if isinstance(frame, self._redo.signs):
            self._disarm()
            self._tried = list(self._refused)
            self._circuits.worked(seat.candidate.circuit)
        for each in self._redo.passed(frame):
            await self.push_frame(each)

    def _fail(self, why: str, category: ErrorCategory | None) -> None:
        """Who serves does so no more; from this moment on nothing of theirs is heard."""
        seat, self._seat = self._seat, None
        self._disarm()
        if seat is not None:
            self._judge(seat.candidate, category)
            self._replacing = self.create_task(self._replace(seat, why), "replace")

    def _judge(self, candidate: Candidate, category: ErrorCategory | None) -> None:
        self._tried.append(candidate)
        if category in _REFUSALS:
            self._refused.append(candidate)
        else:
            self._circuits.failed(candidate.circuit)

    async def _replace(self, failed: _Seat, why: str) -> None:
        last_why: str | None = why
        while last_why is not None:
            seat = self._next_seat(last_why)
            if seat is None:
                self._seat = failed  # it is closed with the call
                await self.push_error(self._why or last_why, force_treat_as_permanent=True)
                return
            last_why = await self._connect(seat)
            if last_why is not None:
                self._retire(seat)
        assert seat is not None
        self._retire(failed)
        await self._hand_over(seat)

    async def _hand_over(self, seat: _Seat) -> None:
        """Queues take without waiting, so what is given meanwhile comes behind."""
        assert self._start is not None
        for frame in self._redo.cut():
            await self.push_frame(frame)
        work = self._redo.redo()
        await seat.service.queue_frame(self._start)
        self._seat = seat
        if work is None:
            await self.pipeline_worker.queue_frames([InterruptionFrame(), LLMRunFrame()])
            return
        if any(isinstance(frame, self._redo.requests) for frame, _ in work):
            self._arm()
        for frame, direction in work:
            await seat.service.queue_frame(frame, direction)

    def _next_seat(self, why: str | None) -> _Seat | None:
        """The next candidate that can be built, told as who takes over; None when nobody is left, told by others.

        ``why`` the last one failed; None when nobody served yet.
        """
        self._why = why or ""
        for candidate in self._in_order():
            try:
                service = candidate.build()
            except (VendorUnusable, SecretUnusable) as error:
                self._refused.append(candidate)
                self._tell(candidate, self._why)
                self._why = str(error)
                continue
            self._tell(candidate, self._why, model=model_of(service))
            for prepare in self._prepared:
                prepare(service)
            if isinstance(service, TTSService):
                service.add_event_handler("on_tts_request", self._asked_for_speech)
            return _Seat(candidate, service, self._came)
        return None

    def _in_order(self) -> Iterator[Candidate]:
        """Those not tried yet, each once, who are out of order last; from behind the last one tried on."""
        begin = self._candidates.index(self._tried[-1]) + 1 if self._tried else 0
        turned = [*self._candidates[begin:], *self._candidates[:begin]]
        left = [each for each in turned if each not in self._tried and each not in self._refused]
        skipped = []
        for candidate in left:
            if self._circuits.admits(candidate.circuit):
                yield candidate
            else:
                skipped.append(candidate)
        yield from skipped

    def _tell(self, candidate: Candidate, why: str, model: str = "") -> None:
        if why:
            self._narrator.vendor_failed(self._stage, why, is_fatal=False, taken_over_by=candidate.vendor)
        self._narrator.serves(self._stage, candidate.vendor, model)

    async def _connect(self, seat: _Seat) -> str | None:
        """Why the vendor cannot be reached, or None."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await seat.service.setup(self.processor_setup)
        except TimeoutError:
            why: str | None = f"no connection within {CONNECT_WITHIN_S:g} s"
        else:
            why = None if seat.failure is None else seat.failure.error
        if why is not None:
            self._judge(seat.candidate, None if seat.failure is None else seat.failure.category)
        return why

    def _retire(self, seat: _Seat) -> None:
        self.create_task(_retire(seat.service), "retire")

    async def _asked_for_speech(self, service: TTSService, *_: object) -> None:
        if self._seat is not None and self._seat.service is service:
            self._arm()

    def _arm(self) -> None:
        self._disarm()
        within_s = FIRST_SIGN_WITHIN_S[self._stage]
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(within_s, self._fail, f"no first sign within {within_s:g} s", None)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def each_service(processor: FrameProcessor, prepare: Prepare) -> None:
    """Does this to the service of a stage, and to those that take over from it."""
    if isinstance(processor, Succession):
        processor.prepare(prepare)
    else:
        prepare(processor)


def serving(processor: FrameProcessor) -> FrameProcessor | None:
    """The service that does the work of a stage at this moment."""
    return processor.service if isinstance(processor, Succession) else processor


async def _retire(service: FrameProcessor) -> None:
    """Ends what it still does, its connections included."""
    with suppress(TimeoutError):
        async with asyncio.timeout(RETIRE_WITHIN_S):
            await service.process_frame(CancelFrame(), FrameDirection.DOWNSTREAM)
    await service.cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped


def model_of(service: FrameProcessor) -> str:
    """The model that a service is set to, as its vendor names it; empty when it has none."""
    model = getattr(getattr(service, "settings", None), "model", None)
    return model if isinstance(model, str) else ""
