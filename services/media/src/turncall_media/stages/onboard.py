"""Voices on the worker's own processor: what every vendor of them has in common."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    RuntimeException,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.services.settings import TTSSettings

from turncall_media.stages import models
from turncall_media.stages.voices import SentenceTTSService


class OnboardTTSService(SentenceTTSService):
    """One model for all calls of the worker that name it, in the one thread of its vendor. ``load`` returns it, and
    keeps it."""

    FAILURES = (
        Fail,
        InvalidArgument,
        InvalidGraph,
        InvalidProtobuf,
        NoSuchFile,
        RuntimeException,
        KeyError,
        OSError,
        RuntimeError,
        TimeoutError,
        ValueError,
    )

    def __init__(
        self, vendor: str, voice: str, load: Callable[[], Any], *, from_hz: int, rate_hz: int, timeout_s: float
    ) -> None:
        settings = TTSSettings(model=voice, voice=voice, language=None)
        super().__init__(settings, from_hz=from_hz, rate_hz=rate_hz, timeout_s=timeout_s)
        self._vendor = vendor
        self._load = load
        self._timeout_s = timeout_s

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat narrows it
        """Loads the model, if no call before did. One that cannot be loaded is final."""
        await super().setup(setup)
        try:
            await models.at_work(self._vendor, self._load, models.LOAD_WITHIN_S)
        except self.FAILURES as error:
            why = f"the voice does not load: {error or type(error).__name__}"
            await self.push_error(why, exception=error, force_treat_as_permanent=True)

    @abstractmethod
    def _pieces(self, model: Any, text: str) -> Iterator[bytes]:
        """The speech of a text, mono s16le, made piece by piece as it is asked for. Blocks."""

    async def _speech(self, text: str) -> AsyncIterator[bytes]:
        pieces = self._pieces(self._load(), text)
        while True:
            piece = await models.at_work(self._vendor, partial(next, pieces, None), self._timeout_s)
            if piece is None:
                return
            yield piece
