"""Whether a caller who pauses is done, by how it sounded: Smart Turn v3 on one shared model and a thread of its own.

It costs 0.1 s of a slow core, so it is asked at pauses only, never on the event loop, one call after another; a verdict
that comes too late changes nothing. The model (BSD-2-Clause, pipecat-ai/smart-turn) comes inside Pipecat's wheel.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import numpy as np
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.frames.frames import Frame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.turns.types import ProcessFrameResult

from turncall_media.audio.sound import TELEPHONE, Sound
from turncall_media.turns.silence import SilenceStop

LISTENS_TO_MS: Final = 8_000
"""What the model was trained on: the last seconds of a turn."""
BEFORE_SPEECH_MS: Final = 500

Judge = Callable[[bytes], Awaitable[bool]]
"""Whether somebody who said this (mono s16le), and then paused, is done."""


async def is_done(pcm: bytes, rate_hz: int = TELEPHONE.rate_hz) -> bool:
    """The model's verdict on what was said since the turn began."""
    return await asyncio.get_running_loop().run_in_executor(_thread(), _verdict, pcm, rate_hz)


def warm(rate_hz: int = TELEPHONE.rate_hz) -> None:
    """Loads the model for calls of this rate, in its thread."""
    _thread().submit(_model, rate_hz)


@cache
def _thread() -> ThreadPoolExecutor:
    """One for the process: two verdicts at once would take a core each from the calls."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="smart-turn")


@cache
def _model(rate_hz: int) -> LocalSmartTurnAnalyzerV3:
    """Constant once it is loaded, so sharing it shares no state; what a call said is kept by the call."""
    model = LocalSmartTurnAnalyzerV3(sample_rate=rate_hz)
    model.set_sample_rate(rate_hz)
    return model


def _verdict(pcm: bytes, rate_hz: int) -> bool:
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    return bool(_model(rate_hz)._predict_endpoint(samples)["prediction"])


class Words:
    """The sound of the caller's turn so far, `LISTENS_TO_MS` at most."""

    def __init__(self, sound: Sound = TELEPHONE) -> None:
        self.sound = sound
        self._pcm = bytearray()
        self._is_begun = False

    def hear(self, pcm: bytes) -> None:
        """What the caller's side of the line sounds like next."""
        self._pcm += pcm
        self._keep(LISTENS_TO_MS)

    def begin(self, start_ms: int) -> None:
        """A voice was noticed ``start_ms`` after it began; what lay long before the turn's first one is forgotten."""
        if not self._is_begun:
            self._is_begun = True
            self._keep(start_ms + BEFORE_SPEECH_MS)

    def end(self) -> None:
        """The turn is over."""
        self._is_begun = False
        self._pcm.clear()

    @property
    def pcm(self) -> bytes:
        """Mono s16le."""
        return bytes(self._pcm)

    def _keep(self, ms: int) -> None:
        del self._pcm[: max(0, len(self._pcm) - ms * self.sound.bytes_per_ms)]


class SmartStop(SilenceStop):
    """Ends the caller's turn after a silence, or as soon as ``judge`` says that the caller is done.

    Transcripts are waited for as without it. Pipecat's own strategy wants the caller's audio in the aggregator, has a
    model and a thread for each call, and holds up the pipeline while it judges.
    """

    def __init__(self, longest_s: float, stop_window_s: float, words: Words, judge: Judge) -> None:
        super().__init__(longest_s, stop_window_s)
        self._words = words
        self._judge = judge
        self._judging: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """See the class."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            await self._stop_judging()
            self._words.begin(round(frame.start_secs * 1000))
        result = await super().process_frame(frame)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            await self._stop_judging()
            self._judging = self.task_manager.create_task(self._ask(), f"{self}::judging")
        return result

    async def handle_user_turn_stopped(self) -> None:
        """The next turn is judged by its own words."""
        await super().handle_user_turn_stopped()  # type: ignore[no-untyped-call]  # the same
        self._words.end()

    async def cleanup(self) -> None:
        """Leaves no task."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # the same
        await self._stop_judging()

    async def _ask(self) -> None:
        if not await self._judge(self._words.pcm):
            return
        self._judging = None  # ending the turn must not cancel what ends it
        if self._user_speech_timeout_task:
            await self.task_manager.cancel_task(self._user_speech_timeout_task)
            self._user_speech_timeout_task = None
        self._user_speech_wait_done = True
        await self._maybe_trigger_user_turn_stopped()  # type: ignore[no-untyped-call]  # the same

    async def _stop_judging(self) -> None:
        judging, self._judging = self._judging, None
        if judging is not None and not judging.done():
            await self.task_manager.cancel_task(judging)
