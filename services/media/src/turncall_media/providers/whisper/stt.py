"""Transcription with Whisper on the worker's own processor: no key, no network."""

from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soxr  # type: ignore[import-untyped]  # publishes no type information
from msgspec import Meta, Struct
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.services.stt_latency import WHISPER_TTFS_P99

from turncall_media.stages import models
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.utterances import UtteranceSTTService

CAPABILITIES = Capabilities(needs_secret=False)
MODEL_HZ = 16_000
"""What Whisper listens at."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model of the operator's, and how much of the processor it takes."""

    model: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$(?!\n)", description="A folder under whisper/ in the models."),
    ] = "small"
    threads: Annotated[int, Meta(ge=1, le=32, description="Of the processor, for one utterance at a time.")] = 1
    timeout_ms: Annotated[
        int, Meta(ge=500, le=60_000, description="For an utterance, the wait for those of other calls included.")
    ] = 10_000


def build(options: Options, context: BuildContext) -> UtteranceSTTService:
    """Transcribes one call. Raises `VendorUnusable` without the package or the model."""
    path = models.found("whisper", options.model, context)
    warm()
    return WhisperSTTService(options, path, context)


def warm() -> None:
    """Raises `VendorUnusable` without the package. Models are loaded by the first call that names them."""
    models.installed("whisper", "faster_whisper")


class WhisperSTTService(UtteranceSTTService):
    """One model for all calls of the worker that name it."""

    FAILURES = (RuntimeError, ValueError, OSError, TimeoutError)

    def __init__(self, options: Options, path: Path, context: BuildContext) -> None:
        super().__init__(model=options.model, rate_hz=context.rate_hz, ttfs_s=WHISPER_TTFS_P99)
        self._load = partial(_loaded, path, options.threads)
        self._timeout_s = options.timeout_ms / 1000
        self._rate_hz = context.rate_hz
        self._manner = {
            "language": context.language.split("-", maxsplit=1)[0],
            "beam_size": 1,
            "hotwords": ", ".join(context.keyterms) or None,
            "condition_on_previous_text": False,
            "without_timestamps": True,
        }

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat narrows it
        """Loads the model, if no call before did. One that cannot be loaded is final."""
        await super().setup(setup)
        try:
            await models.at_work("whisper", self._load, models.LOAD_WITHIN_S)
        except self.FAILURES as error:
            why = f"the model does not load: {error or type(error).__name__}"
            await self.push_error(why, exception=error, force_treat_as_permanent=True)

    async def _transcribed(self, audio: bytes) -> str:
        return await models.at_work("whisper", partial(self._words, audio), self._timeout_s)

    def _words(self, audio: bytes) -> str:
        samples = np.frombuffer(audio, dtype="<i2").astype(np.float32) / 32_768
        heard = soxr.resample(samples, self._rate_hz, MODEL_HZ)
        segments, _ = self._load().transcribe(heard, **self._manner)
        return " ".join(segment.text.strip() for segment in segments)  # the work is done as they are asked for


@cache
def _loaded(path: Path, threads: int) -> Any:
    whisper = import_module("faster_whisper")
    return whisper.WhisperModel(
        str(path), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
    )
